"""The study `development`: see `clew.studies.development.study`."""
