"""How a small network does on photos it has not seen, by the loss it was trained with: `python -m benchmarks.training`.

One network, four jobs, each with a blur of its own: to sharpen what a lens put out of focus (`defocus`, by a
disparity), what is blurred alike all over (`gaussian`) or by a motion (`motion`), and to render a lens's blur of a
sharp photo whose depth is given (`bokeh`, the original's own case). Crops of five photos to train on, versions of three
other photos to judge by: PSNR, SSIM and GMSD, and relative errors of edges (Sobel 3x3) and of the magnitude spectrum.

The studies: `losses`, the main table; `weights`, of BlurSim beside L1; `alphas`, fixed ones and decaying; `kernels`, of
the Sobel operator; `blind`, without the residual connection. Every run writes files of its own into `--out` once it has
ended, and is not run again: stopped, the same command goes on. (Take a new folder after a change to this code or to the
packages.) `--write` puts the tables into docs/training_results.md; those of other photos need `--photos`.
"""
