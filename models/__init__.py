"""Arrays and networks: geometry, bundles, inference and training. No DICOM in here."""
