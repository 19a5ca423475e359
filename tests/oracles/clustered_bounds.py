"""Which one-sided bound of a clustered paired difference keeps its error rate: the evidence behind eval/src/stats/non_inferiority.rs.

Simulates right-or-wrong rows in groups whose true loss is exactly the margin (.03) and prints, for each way to bound the difference at
95 %, the share that is called "not worse". Groups have Dirichlet probabilities with the correlation rho between two rows.

  CR1     clustered error with C/(C-1), t with C-1
  CR2     bias-reduced error, Bell-McCaffrey degrees of freedom at the estimated correlation
  RS0     Tango on counts divided by the estimated design effect (Rao and Scott 1992)
  RS1     the same with the correlation shrunk towards 1 by the weight of one flipped group
  CR2+RS1 both must hold: what the program does

Needs numpy and scipy. Run: python tests/oracles/clustered_bounds.py [runs, 4000]   (about one minute)
"""

import sys

import numpy as np
import scipy.stats as st

MARGIN, ALPHA = 0.03, 0.05
Z = st.norm.ppf(1 - ALPHA)
RNG = np.random.default_rng(3)


def sizes(kind, groups, runs):
    if kind == "equal 6":
        return np.full((runs, groups), 6)
    if kind == "1 to 40":
        return RNG.integers(1, 41, (runs, groups))
    if kind == "skewed":
        return np.floor(np.exp(RNG.random((runs, groups)) * np.log(41))).astype(int)
    return np.where(np.arange(groups) % 10 == 0, 40, RNG.integers(1, 4, (runs, groups)))


def flips(n, lost, gained, rho):
    if rho == 0:
        p = np.broadcast_to([lost, gained, 1 - lost - gained], (*n.shape, 3))
    else:
        shape = np.maximum(np.array([lost, gained, 1 - lost - gained]) * (1 - rho) / rho, 1e-12)
        draws = RNG.gamma(shape, size=(*n.shape, 3))
        p = draws / np.maximum(draws.sum(-1, keepdims=True), 1e-300)
    first = np.clip(p[..., 0], 0, 1)
    b = RNG.binomial(n, first)
    c = RNG.binomial(n - b, np.clip(p[..., 1] / np.maximum(1 - first, 1e-12), 0, 1))
    return b.astype(float), c.astype(float)


def tango(b, c, n):
    d = -MARGIN
    big_a, big_b, big_d = 2 * n, -b - c + (2 * n - c + b) * d, -b * d * (1 - d)
    q = (np.sqrt(np.maximum(big_b**2 - 4 * big_a * big_d, 0)) - big_b) / (2 * big_a)
    return (c - b - n * d) / np.sqrt(n * (2 * q + d * (1 - d)))


def bell_mccaffrey(share, omega):
    """trace^2 / trace of the square of the adjusted covariance of residual sums, without writing the matrix out."""
    adjust, total = 1 / (1 - share), omega.sum(1)
    shared = 2 * share * omega - total[:, None] * share**2
    diagonal = adjust * (omega - shared)
    pp, ww, pw = (adjust * share**2).sum(1), (adjust * omega**2).sum(1), (adjust * share * omega).sum(1)
    square = 2 * pp * ww + 2 * pw**2 + total**2 * pp**2 - 4 * total * pp * pw
    square += (diagonal**2 - (adjust * shared) ** 2).sum(1)
    return diagonal.sum(1) ** 2 / square


def approvals(groups, kind, lost, gained, rho, runs):
    n = sizes(kind, groups, runs)
    b, c = flips(n, lost, gained, rho)
    rows = n.sum(1).astype(float)
    mean = (c - b).sum(1) / rows
    sums, share = (c - b) - n * mean[:, None], n / rows[:, None]
    energy, pairs = b + c, (n * (n - 1.0)).sum(1)
    residual = energy.sum(1) - rows * mean**2
    with np.errstate(all="ignore"):
        found = np.where(residual > 0, ((sums**2).sum(1) - residual) * rows / (residual * pairs), 1.0)
        sources = np.nan_to_num(energy.sum(1) ** 2 / (energy**2).sum(1))
    found = np.clip(found, 0, 1)
    shrunk = (sources * found + 1) / (sources + 1)

    def t(variance, freedom):
        return (mean + MARGIN) / np.sqrt(np.maximum(variance, 1e-18)) > st.t.ppf(1 - ALPHA, freedom)

    def rao_scott(correlation):
        effect = 1 + correlation * pairs / rows
        return tango(b.sum(1) / effect, c.sum(1) / effect, rows / effect) > Z

    cr2 = t((sums**2 / (1 - share)).sum(1) / rows**2, bell_mccaffrey(share, n * (1 + (n - 1) * shrunk[:, None])))
    rs1 = rao_scott(shrunk)
    return {
        "CR1": t(groups / (groups - 1) * (sums**2).sum(1) / rows**2, groups - 1).mean(),
        "CR2": cr2.mean(),
        "RS0": rao_scott(found).mean(),
        "RS1": rs1.mean(),
        "CR2+RS1": (cr2 & rs1).mean(),
    }


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 4000
    worst = {}
    for groups in (20, 36, 100):
        for kind in ("equal 6", "1 to 40", "skewed", "one in ten 40"):
            for lost, gained in ((0.08, 0.05), (0.05, 0.02), (0.03, 0.0)):
                for rho in (0.0, 0.1, 0.3):
                    shares = approvals(groups, kind, lost, gained, rho, runs)
                    worst = {name: max(share, worst.get(name, 0)) for name, share in shares.items()}
                    head = f"{groups:4} groups {kind:14} lost {lost} gained {gained} rho {rho}"
                    print(head.ljust(60), *[f"{name} {share:.3f}" for name, share in shares.items()])
    print("worst".ljust(60), *[f"{name} {share:.3f}" for name, share in worst.items()])


if __name__ == "__main__":
    main()
