"""Writes all fixtures again: `python make.py`. Needs `requirements.txt`; the tests do not."""

import forward
import models
import training

if __name__ == "__main__":
    for name in models.SHAPES:
        models.write_folder(name)
        forward.write_expected(name)
    training.write_packed()
    training.write_accumulated()
    training.write_steps()
    training.write_curve()
