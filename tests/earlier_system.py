"""The training step of the earlier system, written anew from its description.

Eight passes of the generators and six of the discriminators, each by itself, in float32: the fakes
are computed once for the generators and again for the discriminators; three optimisers. It gets
what a careful author would have given it: the discriminators are frozen while the generators
learn, and the fakes that are computed again carry no gradient.
"""

from __future__ import annotations

import torch
from scripts.cyclegan import Discriminators, Generators, frozen
from scripts.losses import (
    adversarial_loss,
    cycle_consistency_loss,
    discriminator_loss,
    identity_loss,
)
from torch import Tensor


class EarlierStep:
    """One step; Adam 2e-4 with 0.5 and 0.999, as the baseline's.

    Args:
        generators: both.
        discriminators: both.
        cycle: weight of both cycle consistency losses.
        identity: weight of both identity losses.
        fakes_once: judge the fakes of the generators' step instead of computing them again, as
            the paper's own code does.
    """

    def __init__(
        self,
        generators: Generators,
        discriminators: Discriminators,
        *,
        cycle: float = 10.0,
        identity: float = 0.1,
        fakes_once: bool = False,
    ) -> None:
        self.generators = generators
        self.discriminators = discriminators
        self.cycle = cycle
        self.identity = identity
        self.fakes_once = fakes_once
        both = [generators.t1w_to_t2w, generators.t2w_to_t1w]
        parameters = [parameter for network in both for parameter in network.parameters()]
        settings = {"lr": 2e-4, "betas": (0.5, 0.999)}
        self.generator_optimizer = torch.optim.Adam(parameters, **settings)
        self.discriminator_optimizers = {
            name: torch.optim.Adam(getattr(discriminators, name).parameters(), **settings)
            for name in ("t1w", "t2w")
        }

    def __call__(self, real_t1w: Tensor, real_t2w: Tensor) -> dict[str, Tensor]:
        """Train all four networks on a batch (batch, 1, height, width) in [-1, 1]."""
        loss, fakes = self._update_generators(real_t1w, real_t2w)
        losses = {"generator_loss": loss}
        there, back = self.generators.t1w_to_t2w, self.generators.t2w_to_t1w
        for name, real, generator, source in (
            ("t1w", real_t1w, back, real_t2w),
            ("t2w", real_t2w, there, real_t1w),
        ):
            fake = fakes[name].detach()
            if not self.fakes_once:
                with torch.no_grad():
                    fake = generator(source)
            losses[f"discriminator_{name}_loss"] = self._update_discriminator(name, real, fake)
        return losses

    def _update_generators(
        self, real_t1w: Tensor, real_t2w: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        there, back = self.generators.t1w_to_t2w, self.generators.t2w_to_t1w
        judges = self.discriminators
        self.generator_optimizer.zero_grad()
        with frozen(judges.t1w, judges.t2w):
            fake_t2w, fake_t1w = there(real_t1w), back(real_t2w)
            losses = [
                adversarial_loss(judges.t2w(fake_t2w), is_real=True),
                adversarial_loss(judges.t1w(fake_t1w), is_real=True),
                self.cycle * cycle_consistency_loss(back(fake_t2w), real_t1w),
                self.cycle * cycle_consistency_loss(there(fake_t1w), real_t2w),
                self.identity * identity_loss(there(real_t2w), real_t2w),
                self.identity * identity_loss(back(real_t1w), real_t1w),
            ]
            loss = torch.stack(losses).sum()
            loss.backward()
        self.generator_optimizer.step()
        return loss.detach(), {"t1w": fake_t1w, "t2w": fake_t2w}

    def _update_discriminator(self, name: str, real: Tensor, fake: Tensor) -> Tensor:
        judge = getattr(self.discriminators, name)
        optimizer = self.discriminator_optimizers[name]
        optimizer.zero_grad()
        loss = discriminator_loss(judge(real), judge(fake))
        loss.backward()
        optimizer.step()
        return loss.detach()
