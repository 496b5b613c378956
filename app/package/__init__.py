"""`viscera package`: the MONAI Application Package (MAP) from a plain Containerfile."""
