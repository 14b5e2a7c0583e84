# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""
One look at a lens, and a lesson
================================

Before anything is fitted, a network looks at the image and says what it holds possible. Here is what it says of one
lens, what the fit makes of it, and how the network is taught on images of a camera of one's own. :ref:`estimator`
explains it.
"""

# %%
# A lens
# ------
# As Euclid's VIS camera would see it; yours is a file. The simulator knows the truth, which nothing below is told.

import astropy.units as u
import matplotlib.pyplot as plt
import numpy as np
import torch

from lensing_sr import LensImage, LensingSuperResolver
from lensing_sr.networks.mixture import in_arcsec
from lensing_sr.networks.views import make_views
from lensing_sr.simulation import LensPopulation


def lens_images(simulator, count, seed):
    """Images as a user has them, with PSF and noise, and their true Einstein radii."""
    keys = ("LR", "noise", "psf", "theta_E")
    drawn = {key: values.numpy() for key, values in simulator.draw(count, seed=seed, keys=keys).items()}
    pixel = simulator.instrument.pixel_scale * u.arcsec / u.pix
    given = {"psf_oversampling": simulator.scale, "pixel_scale": pixel, "unit": "electron / s"}
    images = [
        LensImage(data, noise=noise, psf=psf, **given)
        for data, noise, psf in zip(drawn["LR"], drawn["noise"], drawn["psf"], strict=True)
    ]
    return images, drawn["theta_E"]


settings = {"scale": 1, "arc_sn": (80.0, 120.0), "neighbours": False, "psf_error": False}
euclid = LensPopulation("euclid-vis", shape=(80, 80), **settings)
(image,), (theta_E,) = lens_images(euclid, 1, seed=1)

# %%
# What the network holds possible
# -------------------------------
# A thousand draws from its answer, for the Einstein radius and one component of the mass ellipticity, beside the fit
# that it starts and its error bars.

resolver = LensingSuperResolver(source="sersic", potential=False)
result = resolver.super_resolve(image)

network = resolver.network
flux, sigma = (torch.as_tensor(np.array(values))[None].float() for values in (image.data, image.noise))
matrix = 0.1 * torch.eye(2, dtype=torch.float64)  # arcsec a pixel
views = make_views(flux, 1 / sigma, matrix, (39.5, 39.5), torch.zeros(1, 2), psf_fwhm=euclid.psf_fwhm[0])
with torch.no_grad():
    draws = network(views).mixture.sample(1000, torch.Generator().manual_seed(1))
draws = in_arcsec(draws, views.half_width[:, None].expand(-1, 1000), views.centre[:, None])[0]

fitted = {name: result.parameters.loc[name] for name in ("theta_E", "e1")}
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4))
left.imshow(np.arcsinh(np.array(image.data) / np.median(np.array(image.noise))), origin="lower", cmap="magma")
left.set(title="image", xticks=[], yticks=[])
right.plot(draws[:, 0].exp(), draws[:, 1], ".", ms=2, color="0.6", label="the network's draws")
right.errorbar(
    fitted["theta_E"]["value"], fitted["e1"]["value"], xerr=fitted["theta_E"]["error"], yerr=fitted["e1"]["error"],
    fmt="o", color="C1", label="the fit",
)  # fmt: skip
right.axvline(theta_E, color="C0", label="truth")
right.set(xlabel="theta_E (arcsec)", ylabel="e1 of the mass")
right.legend()
plt.show()

# %%
# A lesson
# --------
# Sixty-four images of the Dark Energy Camera, which the network never saw, and nothing but the images: each is fitted,
# started by the network as it is, and what the fits found teaches it. Twelve of them are set aside to tell whether it
# helps.

des = LensPopulation("des-i", lens_light=False, **settings)
images, _ = lens_images(des, 64, seed=3)
student = LensingSuperResolver.from_pretrained(method="network", lens_light=False)
history = student.train(images, epochs=12, batch_size=16, rate=1e-4, progress=False)
history.plot(title="learning from 64 images")
plt.show()

# %%
# And sixty-four fresh ones, before and after:

fresh, truth = lens_images(des, 64, seed=4)
for name, one in (("as it came", LensingSuperResolver(method="network", lens_light=False)), ("taught", student)):
    found = [answer.parameters.loc["theta_E"]["value"] for answer in one.super_resolve_many(fresh)]
    print(f"{name:10}  median error of theta_E {np.median(abs(np.array(found) / truth - 1)):.1%}")

# %%
# So few images teach little; a survey's worth of them teaches more, and costs a fit each. What was learned is kept by
# ``student.save("mine.safetensors")`` and used by ``LensingSuperResolver(network="mine.safetensors")`` or
# ``fits2sr --network mine.safetensors``.
