"""DICOM to arrays and back: pure functions, and the operators of the graph around them."""
