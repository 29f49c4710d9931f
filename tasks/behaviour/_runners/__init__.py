"""Scripts that Pythons of other environments run, one a package: VIDEO MODEL FOLDER.

Each leaves one CSV in FOLDER, as DeepLabCut writes it. They import nothing of Ranvier, and run with any Python that the
package runs with.
"""
