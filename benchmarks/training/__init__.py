"""How a small network does on photos it has not seen, by the loss it was trained with: `python -m benchmarks.training`.

One network is trained for four jobs, each with its own kind of blur. Three jobs sharpen a photo that is out of focus
(`defocus`, by a disparity), blurred equally everywhere (`gaussian`), or blurred by motion (`motion`). The fourth job
renders the blur of a lens from a sharp photo and its depth (`bokeh`, the original's own use). The network trains on
crops of five photos, and is judged on versions of three other photos. The scores are PSNR, SSIM, GMSD and the
correlation with the target.

The studies are:

- `losses`: the main table
- `readings`: BlurSim with other options
- `alphas`: fixed and decaying values of alpha
- `crops`: larger crops
- `blind`: without the residual connection

Every run writes its own files into `--out` when it has ended, and is not run again. After a stop, the same command
continues. (Use a new folder after a change to this code or to the packages.) `--write` puts the tables into
docs/training_results.md. The tables of other photos need `--photos`.
"""
