# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""What the tests of this room share: images of lenses, and small networks of every kind."""

import torch

from lensing_sr.lensing.mass import sie_deflection
from lensing_sr.networks import DeflectionNetwork
from lensing_sr.networks.views import make_views

SMALL = {"channels": 8, "blocks": 1}

#: Settings that between them use every part of the room.
VARIANTS = {
    "published": SMALL,
    "group": SMALL | {"norm": "group"},
    "context": SMALL | {"context": True},
    "informed": SMALL | {"context": True, "norm": "group", "scaling": "snr", "inputs": ["x", "y", "r", "noise", "psf"]},
    "convergence": SMALL | {"context": True, "head": "convergence"},
    "potential": SMALL | {"head": "potential"},
    "rcan": SMALL | {"network": "rcan", "groups": 1, "channels": 16},
    "rcan-context": SMALL | {"network": "rcan", "groups": 1, "context": True, "bounded": True},
}


def make(name, seed=0):
    """One of the `VARIANTS`, with weights from a seed."""
    torch.manual_seed(seed)
    return DeflectionNetwork(**VARIANTS[name])


def lens(theta_E, x0=0.05, y0=0.1, shape=(32, 32), pixel=0.14, seed=0):
    """Noisy image (rows, columns) of a small round source behind an isothermal sphere, sigma 0.05."""
    x = (torch.arange(shape[1]) - 0.5 * (shape[1] - 1)) * pixel
    y = (torch.arange(shape[0]) - 0.5 * (shape[0] - 1))[:, None] * pixel
    x, y = torch.broadcast_tensors(x, y)
    alpha_x, alpha_y = sie_deflection(x, y, theta_E, torch.tensor(0.0), torch.tensor(0.0))
    image = torch.exp(-0.5 * ((x - alpha_x - x0) ** 2 + (y - alpha_y - y0) ** 2) / 0.15**2)
    return image + 0.05 * torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def observed(batch=2, shape=(32, 32)):
    """Keyword arguments of a call, image first."""
    images = [lens(0.7 + 0.3 * i, shape=shape, seed=i) for i in range(batch)]
    return torch.stack(images), {"pixel_scale": 0.14, "psf_fwhm": 0.2, "noise": torch.full((batch, 1, 1), 0.05)}


def awake(reader):
    """A small `ViewReader` whose answer depends on the image, as that of an untrained one hardly does."""
    with torch.no_grad():
        reader.answer.weight.mul_(20.0)
        for name, parameter in reader.named_parameters():
            if name.endswith("gain"):
                parameter.fill_(0.5)
    return reader.eval()


def views_of_noise():
    """Views of five images of noise."""
    data = torch.randn(5, 60, 60, generator=torch.Generator().manual_seed(3))
    frame = 0.1 * torch.eye(2, dtype=torch.float64), (29.5, 29.5)
    return make_views(data, torch.ones(5, 60, 60), *frame, torch.zeros(5, 2), psf_fwhm=0.2)


def select(views, index):
    """Some of the images of views."""
    return type(views)(*(t[index] for t in views))
