"""From scans that a lab has to synthetic volumes on their own grids."""
