"""The study `subliminal`: what a teacher's noise and numbers pass on to a pupil that begins where the teacher began."""
