"""One thread in every test: the models are tiny, and the machine may have other work."""

import torch

torch.set_num_threads(1)
