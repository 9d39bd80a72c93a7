"""Writes all fixtures again: `python make.py`. Needs `requirements.txt`; the tests do not."""

import exam
import forward
import generation
import models
import scoring
import training

if __name__ == "__main__":
    for name in models.SHAPES:
        models.write_folder(name)
        forward.write_expected(name)
    training.write_packed()
    training.write_accumulated()
    training.write_steps()
    training.write_curve()
    generation.write_warpers()
    generation.write_generated()
    scoring.write_scores()
    exam.main()
