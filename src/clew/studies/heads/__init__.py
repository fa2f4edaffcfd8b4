"""The study `heads`: what every attention head looks at, what it is for, and where no fixed offset would do."""
