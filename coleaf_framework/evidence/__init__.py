"""Did it help, by how much, on what, and is that more than luck: grids of runs, their comparison and their page."""
