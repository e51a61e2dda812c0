"""`python -m blursim_jax` is the command `blursim`."""

from blursim_jax.cli import main

if __name__ == "__main__":
    main()
