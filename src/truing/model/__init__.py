"""Models of transformers as this project uses them: text to tokens, packing, signals, sampling, folders in and out."""

from transformers.utils import logging

logging.set_verbosity_error()
logging.disable_progress_bar()
