"""An evaluation for people: one page with tables, charts, pictures and organs in 3D."""
