"""The study `arcs`: trajectories of stories, their components, and what noise, walks and shuffled text give."""

from clew.studies.arcs.spectra import spectrum_null as spectrum_null
