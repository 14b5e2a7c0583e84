# Licensed under a 3-clause BSD style license - see licenses/LICENSE.rst
"""The training loop: one for every network, loss and source of images, on a processor, a GPU, or several."""

import contextlib
import math
import time
import warnings
from pathlib import Path

import torch
from torch.nn.parallel import DistributedDataParallel

from lensing_sr.errors import InputError, LensingSRWarning
from lensing_sr.losses.reconstruction import Reconstruction
from lensing_sr.training import parallel
from lensing_sr.training.adversary import restore_buffers
from lensing_sr.training.checkpoint import copied, random_state, set_random_state
from lensing_sr.training.folder import RunFolder, duration
from lensing_sr.training.history import MAIN, TUNING, History, RunState, TrainingError
from lensing_sr.training.schedule import as_rate
from lensing_sr.utils._checks import check_whole
from lensing_sr.utils._progress import progress as progress_bar

__all__ = ["Trainer", "bfloat16_pays"]

#: Steps in a row without a finite loss after which a training gives up.
MOST_SKIPPED = 25


def bfloat16_pays(device):
    """Whether a device computes in bfloat16 by itself rather than by emulation."""
    if torch.device(device).type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


class Trainer:
    """Trains a network by the physics of lensing, from low-resolution images alone.

    Parameters
    ----------
    network : torch.nn.Module
        Called as ``network(image, pixel_scale=..., psf_fwhm=..., noise=...)``, gives the deflection.
    loss : `~lensing_sr.losses.total.LensingLoss`
        Called as ``loss(reconstruction, epoch)``, gives the total and each term; ``weights(epoch)`` their weights.
    train : SimulatedBatches or ImageBatches
        Numbered batches.
    validation : ImageBatches
        Images that never train.
    epochs : int
        How many, at most.
    steps : int, optional
        Steps of an epoch; by default once through a finite set.
    rate : float, ConstantRate or WarmupCosine
        Learning rate of Adam.
    weight_decay : float
        Of AdamW; 0 is Adam.
    clip : float, optional
        Longest gradient (norm over all weights); longer ones are shortened.
    criterion : str
        Which number of the validation says what is best: "total", a term, or a monitor.  Lower is better.
    monitors : dict of {str: callable}
        More terms, measured on the validation images only.
    early_stop : int, optional
        Epochs without a better criterion after which a stage ends.
    fine_tuning : FineTuning, optional
        The last stage, from the best epoch on, with the loss weights of that epoch.
    adversary : Adversary, optional
        Discriminators, which learn in turns with the network.
    amp : "auto" or bool
        Whether the network computes in bfloat16, "auto" where the hardware has it; the physics is in float32 anyway.
    channels_last : bool
        Whether weights and feature maps are laid out with the channels last, which is faster.
    seed : int
        Of whatever the network draws, dropout for one.  The images have seeds of their own.
    device : str or torch.device
        "auto", "cpu", "cuda".
    folder : path-like, optional
        Where checkpoint, best weights, learning curves and log are written; made if it's missing.
    progress : bool, optional
        Whether to show a progress bar; by default on a terminal.
    facts : dict of {str: str}
        What the log and the metadata of the weights shall also say.

    Raises
    ------
    lensing_sr.errors.InputError
        If a setting breaks its rule.

    Notes
    -----
    Started by ``torchrun``, several processes share every batch: each takes its part, gradients are averaged, and the
    first process writes.  The result is that of one process with the whole batch, to rounding, except that batch norm
    takes its statistics from each part on processors (on GPUs from the whole batch).

    A step whose loss or gradient is not finite changes nothing: neither weights nor running means.

    Examples
    --------
    See `lensing_sr.training.recipe`, which makes trainers from files.
    """

    def __init__(
        self, network, loss, train, validation, *, epochs, steps=None, rate=1e-4, weight_decay=0.0, clip=None,
        criterion="total", monitors=None, early_stop=None, fine_tuning=None, adversary=None, amp="auto",
        channels_last=True, seed=0, device="auto", folder=None, progress=None, facts=None,
    ):  # fmt: skip
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        self.device = torch.device(device)
        self.network = network.to(self.device)
        if channels_last:
            self.network = self.network.to(memory_format=torch.channels_last)
        self.loss, self.train, self.validation = loss, train, validation
        self.epochs = check_whole(epochs, "epochs", least=1)
        self.early_stop = early_stop and check_whole(early_stop, "early_stop", least=1)
        if steps is None and not hasattr(train, "__len__"):
            raise InputError("steps", "must be given for batches without end", None, "say how many make an epoch")
        self.steps = check_whole(len(train) if steps is None else steps, "steps", least=1)
        self.rate, self.weight_decay, self.clip = as_rate(rate), float(weight_decay), clip
        self.monitors, self.criterion, self.fine_tuning = dict(monitors or {}), criterion, fine_tuning
        self.adversary = adversary and adversary.to(self.device)
        if amp not in ("auto", True, False):
            raise InputError("amp", "must be 'auto', True or False", repr(amp))
        self.amp = bfloat16_pays(self.device) if amp == "auto" else amp
        self.seed, self.progress, self.facts = int(seed), progress, dict(facts or {})
        self.folder = None if folder is None else Path(folder)
        self._check_criterion()
        if self.device.type == "cuda" and parallel.world() > 1:
            self.network = torch.nn.SyncBatchNorm.convert_sync_batchnorm(self.network)
        for part in (loss, *self.monitors.values()):
            if hasattr(part, "to"):
                part.to(self.device)

    @property
    def plan(self):
        """What a resumed run must have in common with the interrupted one."""
        return {
            "steps": self.steps, "batch_size": self.train.batch_size, "seed": self.seed, "rate": repr(self.rate),
            "weight_decay": self.weight_decay, "clip": self.clip, "criterion": self.criterion,
            "fine_tuning": repr(self.fine_tuning), "weights": _weights(self.loss, 0), "loss": self._names(0),
            "network": repr(getattr(self.network, "settings", None)),
        }  # fmt: skip

    def run(self, *, resume=False):
        """Train, and leave the best weights in the network.

        Parameters
        ----------
        resume : bool
            Whether to go on from the checkpoint in the folder; on one kind of machine with as many threads, the result
            is that of a run that was never interrupted, bit for bit.

        Returns
        -------
        History

        Raises
        ------
        TrainingError
            If the loss is not finite in 25 steps in a row, or no epoch has a finite validation.
        lensing_sr.errors.OutputError
            If the folder holds a training already and is not to be resumed.
        lensing_sr.errors.InputError
            If the checkpoint is missing, or that of another training.
        """
        self._begin(resume)
        try:
            while not self._finished():
                self._enter_stage()
                self._epoch()
        finally:
            self._model = None
        state, best = self._state, self._best()
        self.network.load_state_dict(best["weights"])
        evaluation = self.evaluate(loss_epoch=best["loss_epoch"])
        history = History(
            state.curves, best["epoch"], best["value"], evaluation, state.passes, state.skipped, state.seconds,
            state.stopped,
        )  # fmt: skip
        self._end(history)
        return history

    def evaluate(self, *, loss_epoch=0):
        """Means over the validation images, of the network as it is.

        Parameters
        ----------
        loss_epoch : int
            Epoch, from 0, whose loss weights make the total.

        Returns
        -------
        dict of {str: float}
            Total, terms and monitors.
        """
        names = (*self._names(loss_epoch), *self.monitors)
        sums = torch.zeros(len(names) + 1, dtype=torch.float64, device=self.device)
        training = self.network.training
        self.network.eval()
        try:
            with torch.no_grad():
                for observed in self.validation.once(parallel.rank(), parallel.world()):
                    reconstruction = self._reconstructed(observed, self.network)
                    total, terms = self.loss(reconstruction, loss_epoch)
                    terms |= {name: monitor(reconstruction) for name, monitor in self.monitors.items()}
                    count = len(observed.image)
                    values = [total, *(terms[name] for name in names[1:]), 1.0]
                    sums += count * torch.stack([_double(value, self.device) for value in values])
        finally:
            self.network.train(training)
        sums = parallel.mean_over_processes(sums)
        return dict(zip(names, (sums[:-1] / sums[-1]).tolist(), strict=True))

    # -- one run -----------------------------------------------------------------------------------------------------

    def _begin(self, resume):
        """Set the state of a run: a fresh one, or that of the checkpoint."""
        self._files = RunFolder(self.folder, writes=parallel.rank() == 0)
        held = None
        if resume:
            held = self._files.checkpoint()
        else:
            self._files.check_free()
        parallel.wait()  # nobody looks after the first process has written
        self._files.make()
        torch.manual_seed(self.seed + parallel.rank())
        parallel.same_everywhere(self.network)
        if self.adversary is not None:
            parallel.same_everywhere(self.adversary.module)
        self._state = RunState()
        self._model = self.network
        if parallel.world() > 1:
            self._model = DistributedDataParallel(
                self.network, device_ids=[self.device] if self.device.type == "cuda" else None
            )
        self._new_optimiser()
        if resume:
            self._restore(held)
            self._files.line(f"resumed after epoch {len(self._state.curves)}")
            return
        batch = f"{self.train.batch_size} images in {parallel.world()} process(es), {self.steps} steps an epoch"
        self._files.begin(
            **self.facts, network=self.network, device=self.device, seed=self.seed, amp=self.amp, batch=batch,
            loss_weights=_listed(_weights(self.loss, 0)), criterion=self.criterion,
        )  # fmt: skip

    def _new_optimiser(self):
        self._optimiser = torch.optim.AdamW(
            self.network.parameters(), lr=self.rate(0, self.steps), weight_decay=self.weight_decay
        )

    def _best(self):
        """The best network so far, or an error."""
        if self._state.best is None:
            raise TrainingError(f"{self.criterion}: was not finite on the validation images in any epoch")
        return self._state.best

    def _finished(self):
        """Whether the last stage is over."""
        waiting = self._state.stage == MAIN and self.fine_tuning is not None
        return not waiting and self._stage_over()

    def _stage_over(self):
        epochs = self.epochs if self._state.stage == MAIN else self.fine_tuning.epochs
        tired = bool(self.early_stop) and self._state.since_best >= self.early_stop
        self._state.stopped = "early" if tired and self._state.stage_epoch < epochs else "end"
        return tired or self._state.stage_epoch >= epochs

    def _enter_stage(self):
        """Begin the fine-tuning where the main stage is over: best network, its loss weights, a fresh optimiser."""
        if self._state.stage == MAIN and self._stage_over():
            best = self._best()
            self._state.begin_tuning()
            self.network.load_state_dict(best["weights"])
            self._new_optimiser()
            weights = _listed(_weights(self.loss, self._state.loss_epoch))
            self._files.line(f"fine-tuning from epoch {best['epoch']}, weights {weights}")

    def _epoch(self):
        """Train for an epoch, validate, keep what is best, write."""
        begun, state = time.perf_counter(), self._state
        if state.stage == MAIN:
            state.loss_epoch = state.stage_epoch
        trained, rate, skipped = self._trained()
        measured = self.evaluate(loss_epoch=state.loss_epoch)
        state.stage_epoch += 1
        row = {"epoch": len(state.curves) + 1, "stage": state.stage, "passes": state.passes, "rate": rate}
        row |= {"skipped": skipped} | {f"training_{name}": value for name, value in trained.items()}
        row |= {f"validation_{name}": value for name, value in measured.items()}
        row |= {f"weight_{name}": value for name, value in _weights(self.loss, state.loss_epoch).items()}
        state.curves.append(row)
        better = state.keep_if_best(measured[self.criterion], self.network)
        state.seconds += time.perf_counter() - begun
        self._files.line(
            f"epoch {row['epoch']}, {state.passes} passes, {duration(state.seconds)}, rate {rate:.3g}: "
            f"training {_listed(trained)}; validation {_listed(measured)}{' (best)' if better else ''}"
        )
        everyone = parallel.gathered(random_state())
        if better:
            self._write_weights()
        self._files.write(state.curves, self._checkpoint(everyone))

    def _trained(self):
        """One epoch of steps: means of total and terms, the last rate, and how many steps were left out."""
        names = self._names(self._state.loss_epoch) + (("discriminator",) if self.adversary is not None else ())
        sums = torch.zeros(len(names), dtype=torch.float64, device=self.device)
        schedule, epochs = self.rate, self.epochs
        if self._state.stage == TUNING:
            schedule, epochs = self.fine_tuning.rate, self.fine_tuning.epochs
        skipped, rate = 0, 0.0
        bar = progress_bar(
            range(self.steps), description=f"epoch {len(self._state.curves) + 1}",
            show=False if parallel.rank() else self.progress,
        )  # fmt: skip
        self.network.train()
        for step in bar:
            rate = schedule(self._state.stage_epoch * self.steps + step, epochs * self.steps)
            observed = self.train.batch(self._state.step, parallel.rank(), parallel.world())
            values = self._step(observed, rate)
            self._state.step += 1
            self._state.passes += self.train.batch_size
            if values is None:
                skipped += 1
                continue
            sums += values
            if hasattr(bar, "set_postfix_str") and step % 10 == 0:
                bar.set_postfix_str(_listed(dict(zip(names, values.tolist(), strict=True))), refresh=False)
        self._state.skipped += skipped
        means = (sums / max(self.steps - skipped, 1)).tolist() if skipped < self.steps else [math.nan] * len(names)
        return dict(zip(names, means, strict=True)), rate, skipped

    def _step(self, observed, rate):
        """One step: the discriminators, then the network.  Mean values over the processes; None if it was left out."""
        before = [buffer.clone() for buffer in self.network.buffers()]
        reconstruction = self._reconstructed(observed, self._model)
        judged = [] if self.adversary is None else [self.adversary.step(reconstruction)]
        with contextlib.nullcontext() if self.adversary is None else self.adversary.frozen():
            total, terms = self.loss(reconstruction, self._state.loss_epoch)
            self._optimiser.zero_grad(set_to_none=True)
            total.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.clip or math.inf)
        values = [total, *(terms[name] for name in self._names(self._state.loss_epoch)[1:]), *judged]
        values = torch.stack([_double(value, self.device) for value in values])
        bad = ~(values.isfinite().all() & norm.isfinite())
        values = parallel.mean_over_processes(torch.cat([values, bad.double()[None]]))
        if values[-1] > 0:
            restore_buffers(self.network, before)
            self._state.in_a_row += 1
            if self._state.in_a_row >= MOST_SKIPPED:
                raise TrainingError(
                    f"the loss or its gradient was not finite in {MOST_SKIPPED} steps in a row (epoch "
                    f"{len(self._state.curves) + 1}); lower the rate, clip the gradient, or look at the images"
                )
            return None
        self._state.in_a_row = 0
        for group in self._optimiser.param_groups:
            group["lr"] = rate
        self._optimiser.step()
        return values[:-1]

    def _reconstructed(self, observed, network):
        """The physics of what the network sees in a batch."""
        observed = observed.to(self.device)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.amp):
            deflection = network(
                observed.image, pixel_scale=observed.pixel_scale, psf_fwhm=observed.psf_fwhm, noise=observed.noise
            )
        return Reconstruction(observed, deflection)

    # -- state and files ---------------------------------------------------------------------------------------------

    def _checkpoint(self, everyone):
        """All that the rest of the run depends on; the best weights are a copy already."""
        return {
            "plan": self.plan, "run": self._state.plain(), "network": copied(self.network.state_dict()),
            "optimiser": copied(self._optimiser.state_dict()), "random": everyone,
            "adversary": None if self.adversary is None else self.adversary.state_dict(),
        }  # fmt: skip

    def _restore(self, checkpoint):
        for name, value in self.plan.items():
            held = checkpoint["plan"].get(name)
            if held != value:
                remedy = "or start another one in a folder of its own"
                raise InputError(name, f"must be {held} as in the training to be resumed", value, remedy)
        self.network.load_state_dict(checkpoint["network"])
        self._optimiser.load_state_dict(checkpoint["optimiser"])
        if self.adversary is not None:
            self.adversary.load_state_dict(checkpoint["adversary"])
        self._state = RunState.from_plain(checkpoint["run"])
        if len(checkpoint["random"]) == parallel.world():
            set_random_state(checkpoint["random"][parallel.rank()])

    def _end(self, history):
        text = f"{history.passes} passes in {len(history.curves)} epochs, {duration(history.seconds)}"
        text += f", {history.skipped} steps left out" if history.skipped else ""
        self._files.line(f"{text}; stopped: {history.stopped}")
        self._files.line(f"best epoch {history.best_epoch}: validation {_listed(history.evaluation)}")
        for text in self._write_weights():
            warnings.warn(text, LensingSRWarning, stacklevel=3)
        parallel.wait()

    def _write_weights(self):
        return self._files.write_weights(self.network, self._metadata())

    def _metadata(self):
        """What the file of the weights says of how they came about."""
        best = self._best()
        made = {"epoch": best["epoch"], "passes": self._state.passes, "seed": self.seed, self.criterion: best["value"]}
        return made | self.facts

    def _names(self, epoch):
        """The total and the terms."""
        return ("total", *_weights(self.loss, epoch))

    def _check_criterion(self):
        names = (*self._names(0), *self.monitors)
        if self.criterion not in names:
            raise InputError("criterion", f"must be one of {', '.join(names)}", repr(self.criterion))
        if self.criterion == "total" and _weights(self.loss, 0) != _weights(self.loss, self.epochs - 1):
            rule = "must be a term or a monitor where the weights of the loss change"
            raise InputError("criterion", rule, "'total'", "totals of different epochs do not compare")


def _weights(loss, epoch):
    return {name: float(value) for name, value in loss.weights(epoch).items()}


def _double(value, device):
    return torch.as_tensor(value, dtype=torch.float64, device=device).detach()


def _listed(values):
    return ", ".join(f"{name} {value:.4g}" for name, value in values.items())
