"""The study `belief`: two hidden processes with their exact filters, what stream and features tell, and steering."""
