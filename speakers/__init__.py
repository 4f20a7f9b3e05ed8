"""A persistent, inspectable, erasable memory of speakers: no torch, no emotion model."""
