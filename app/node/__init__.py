"""The DICOM node: receives studies, has them segmented, and sends the results."""
