"""Dask clusters of other machines than the lab's server: workers started by SSH or as jobs of SLURM, as many as the work asks for."""
