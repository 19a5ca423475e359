"""Random cases for the statistics of the evaluation, with the values that other packages give.

    pip install -r tests/oracles/requirements.txt
    python tests/oracles/statistics_cases.py CASES.json [--cases 1000] [--seed 1]
    STATISTICS_CASES=CASES.json cargo test --release -p eval random_cases_of_other_packages -- --ignored --nocapture

Needs numpy, scipy, statsmodels, scikit-learn and krippendorff. CASES is {"kind": [{"in": [...], "out": [...]}]};
the Rust test knows each kind. `eval/tests-data/statistics-cases.json` is the same with --cases 12.
A value that is not a number is written as null and must be "no value" in Rust.
"""
import argparse, json, math, warnings

import krippendorff
import numpy as np
from scipy import optimize, special, stats
from sklearn import isotonic, metrics
from statsmodels.regression.linear_model import OLS
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import NormalIndPower
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

warnings.filterwarnings("ignore")


def wilson(rng):
    n = size(rng, 5000)
    k = int(rng.integers(0, n + 1))
    return [k, n], proportion_confint(k, n, 0.05, "wilson")


def clopper_pearson(rng):
    n = size(rng, 5000)
    k = int(rng.integers(0, n + 1)) if rng.random() < 0.7 else int(rng.choice([0, 1, n]))
    low, high = proportion_confint(k, n, 0.05, "beta")
    upper = 1.0 if k == n else stats.beta.ppf(0.95, k + 1, n - k)
    return [k, n], [0.0 if k == 0 else low, 1.0 if k == n else high, upper]


def newcombe_independent(rng):
    n1, n2 = size(rng, 2000), size(rng, 2000)
    k1, k2 = int(rng.integers(0, n1 + 1)), int(rng.integers(0, n2 + 1))
    return [k1, n1, k2, n2], confint_proportions_2indep(k1, n1, k2, n2, method="newcomb", compare="diff")


def mcnemar_tests(rng):
    b, c = int(rng.integers(0, 300)), int(rng.integers(0, 300))
    if rng.random() < 0.4:
        b, c = b // 20, c // 20 + 1
    b += b + c == 0
    table = [[10, b], [c, 10]]
    plain, corrected = (mcnemar(table, exact=False, correction=k) for k in (False, True))
    small, n = min(b, c), b + c
    mid_p = min(1.0, 2 * stats.binom.cdf(small, n, 0.5) - stats.binom.pmf(small, n, 0.5))
    # The correction of the package can exceed the gap: (|b - c| - 1)^2 is then positive where there is no gap.
    gap = [corrected.statistic, corrected.pvalue] if b != c else [0.0, 1.0]
    return [b, c], [mcnemar(table, exact=True).pvalue, mid_p, plain.statistic, plain.pvalue, *gap]


def tango(rng):
    n = size(rng, 3000) + 5
    b, c = sorted(rng.integers(0, n // 2 + 1, 2).tolist())
    b, c = (b // 10, c // 10) if rng.random() < 0.5 else (c, b)

    def score(difference):
        # The restricted maximum likelihood share of regressions by a search, not by Tango's closed form.
        def slope(lost):
            rest = 1 - 2 * lost - difference
            return sum(k / v for k, v in ((b, lost), (c, lost + difference)) if k) - (2 * (n - b - c) / rest if b + c < n else 0)

        low, high = max(0.0, -difference), (1 - difference) / 2
        edge = 1e-15
        if slope(low + edge) <= 0:
            lost = low
        elif slope(high - edge) >= 0:
            lost = high
        else:
            lost = optimize.brentq(slope, low + edge, high - edge, xtol=1e-17, rtol=1e-14, maxiter=1000)
        return (c - b - n * difference) / math.sqrt(n * (2 * lost + difference - difference**2))

    difference = float(np.round(rng.uniform(-0.6, 0.6), 6))
    return [b, c, n, difference], [score(difference)]


def multiple_tests(rng):
    p = (rng.random(int(rng.integers(1, 30))) ** rng.choice([1, 3])).round(int(rng.choice([2, 6]))).tolist()
    return [p], [v for m in ("holm", "bonferroni", "fdr_bh", "fdr_by") for v in multipletests(p, method=m)[1]]


def mann_whitney(rng):
    digits = int(rng.choice([0, 1, 6]))
    x = (rng.gamma(2, 2, int(rng.integers(1, 60))) + rng.choice([0, 1])).round(digits)
    y = rng.gamma(2, 2, int(rng.integers(1, 60))).round(digits)
    result = stats.mannwhitneyu(x, y, use_continuity=True, method="asymptotic")
    p = 1.0 if math.isnan(result.pvalue) else result.pvalue
    return [x.tolist(), y.tolist()], [result.statistic, p]


def wilcoxon(rng):
    exact = rng.random() < 0.5
    n = int(rng.integers(1, 45)) if exact else int(rng.integers(70, 200))
    # Values on a grid have ties and zeros; the package's exact distribution knows neither.
    x, y = rng.normal(0.2, 1, n), rng.normal(0, 1, n)
    if not exact:
        x, y = x.round(1), y.round(1)
        x, y = (10 * x).round(), (10 * y).round()
    result = stats.wilcoxon(x, y, method="exact" if exact else "approx", correction=False)
    return [x.tolist(), y.tolist()], [result.statistic, result.pvalue]


def clustered(rng):
    n = int(rng.integers(5, 300))
    groups = rng.integers(0, max(2, n // int(rng.integers(1, 12))), n)
    groups[0], groups[1] = 0, 1
    y = rng.random(n).round(3) if rng.random() < 0.5 else rng.integers(0, 2, n).astype(float)
    y[0] = 1 - y[1]
    fit = OLS(y, np.ones(n)).fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": True}, use_t=True)
    plain = OLS(y, np.ones(n)).fit()
    low, high = fit.conf_int(0.10)[0]
    return [y.tolist(), groups.tolist()], [fit.params[0], fit.bse[0], plain.bse[0], low, high]


def paired_t(rng):
    n = int(rng.integers(3, 4000 if rng.random() < 0.1 else 200))
    x, y = rng.random(n).round(4), rng.random(n).round(4)
    x = np.clip(x + rng.choice([0, 0.1]), 0, 1).round(4)
    test = stats.ttest_rel(x, y)
    interval = test.confidence_interval(0.95)
    # The difference of two scores between 0 and 1 is cut at the ends of its scale.
    return [x.tolist(), y.tolist()], [test.pvalue, *np.clip([interval.low, interval.high], -1, 1)]


def quantiles(rng):
    p, freedom = float(rng.uniform(1e-6, 1 - 1e-6)), float(rng.integers(1, 5000))
    t = float(rng.normal(0, 3))
    return [p, freedom, t], [stats.norm.ppf(p), stats.t.ppf(p, freedom), 2 * stats.t.sf(abs(t), freedom), stats.norm.sf(t)]


def binomial(rng):
    n = int(10 ** rng.uniform(0, 5))
    p = float(rng.choice([rng.random(), 0.95, 0.5, 0.01]))
    k = int(np.clip(rng.normal(n * p, 2 * math.sqrt(n * p * (1 - p)) + 1), 0, n))
    d = stats.binom
    return [k, n, p], [d.pmf(k, n, p), d.cdf(k, n, p), d.sf(k - 1, n, p), d.ppf(0.025, n, p), d.ppf(0.975, n, p) + 1]


def kappa(rng):
    k = int(rng.integers(2, 7))
    table = rng.integers(0, 30, (k, k)) + np.diag(rng.integers(0, 60, k)) + 1
    x, y = (np.repeat(index.ravel(), table.ravel()) for index in np.indices((k, k)))
    return [table.tolist()], [metrics.cohen_kappa_score(x, y)]


def krippendorff_alpha(rng):
    raters, units, k = int(rng.integers(2, 6)), int(rng.integers(3, 40)), int(rng.integers(2, 6))
    truth = rng.integers(0, k, units)
    ratings = np.where(rng.random((raters, units)) < 0.6, truth, rng.integers(0, k, (raters, units))).astype(float)
    ratings[rng.random((raters, units)) < rng.choice([0.0, 0.2, 0.4])] = np.nan
    paired = ratings[:, (~np.isnan(ratings)).sum(0) >= 2]
    if len(np.unique(paired[~np.isnan(paired)])) < 2:
        return krippendorff_alpha(rng)
    rows = [[None if math.isnan(v) else int(v) for v in row] for row in ratings]
    return [rows], [krippendorff.alpha(ratings, level_of_measurement="nominal")]


def classification(rng):
    k, n = int(rng.integers(2, 9)), int(rng.integers(2, 200))
    truth = rng.integers(0, int(rng.integers(1, k + 1)), n)
    answer = np.where(rng.random(n) < 0.7, truth, rng.integers(0, k + int(rng.random() < 0.5), n))
    gold = sorted(set(truth.tolist()))
    f1 = lambda average, labels=None: metrics.f1_score(truth, answer, labels=labels, average=average, zero_division=0)
    agreed = metrics.cohen_kappa_score(truth, answer)
    out = [metrics.accuracy_score(truth, answer), f1("macro", gold), f1("macro"), f1("weighted"),
           metrics.balanced_accuracy_score(truth, answer), metrics.matthews_corrcoef(truth, answer), agreed]
    return [k, truth.tolist(), [None if a == k else int(a) for a in answer]], out


def calibration(rng):
    n = int(rng.integers(1, 200))
    p = rng.random(n).round(int(rng.choice([1, 2, 6])))
    y = (rng.random(n) < p).astype(int)
    both = 0 < y.sum() < n
    out = [metrics.brier_score_loss(y, p, labels=[0, 1]), metrics.log_loss(y, p, labels=[0, 1]),
           metrics.roc_auc_score(y, p) if both else math.nan, metrics.average_precision_score(y, p) if y.any() else math.nan]
    return [p.tolist(), y.tolist()], out


def power(rng):
    variance, margin, alpha, share = rng.uniform(0.01, 1), rng.uniform(0.005, 0.2), rng.uniform(0.01, 0.1), rng.uniform(0.6, 0.99)
    z = lambda tail: stats.norm.ppf(1 - tail) + stats.norm.ppf(share)
    one, two = (z(tail) ** 2 * variance / margin**2 for tail in (alpha, alpha / 2))
    # The package's own search stops after eight digits; its power at these n must be the one that was asked for.
    # With two sides it counts rejections on the wrong side too, which one side at half of alpha does not.
    for n, tail in ((one, alpha), (two, alpha / 2)):
        found = NormalIndPower(ddof=0).power(margin / math.sqrt(variance), n, tail, ratio=0, alternative="larger")
        assert abs(found - share) < 1e-12, (found, share)
    return [variance, margin, alpha, share], [one, two]


def isotonic_fit(rng):
    n = int(rng.integers(1, 60))
    y, w = rng.normal(0, 1, n) - np.linspace(0, 1, n), rng.uniform(0.1, 50, n)
    fit = isotonic.IsotonicRegression(increasing=False).fit(np.arange(n), y, sample_weight=w).predict(np.arange(n))
    return [y.tolist(), w.tolist()], fit


def bernoulli_sequence(rng):
    s, f = int(rng.integers(0, 3000)), int(rng.integers(1, 3000) // rng.choice([1, 50, 500]))
    offset = special.betaln(s + 1, f + 1) + math.log(0.05)
    gap = lambda p: special.xlogy(s, p) + special.xlog1py(f, -p) - offset
    peak = s / (s + f) if s + f else 0.5
    low = 0.0 if s == 0 else optimize.brentq(gap, 1e-300, peak, xtol=1e-15, maxiter=2000)
    high = 1.0 if f == 0 else optimize.brentq(gap, peak, 1 - 1e-16, xtol=1e-15, maxiter=2000)
    return [s, f], [low, high]


def sample_ratio(rng):
    planned = rng.dirichlet([5] * int(rng.integers(2, 5)))
    counts = rng.multinomial(int(rng.integers(1, 20000)), planned)
    prior = stats.dirichlet_multinomial.logpmf(counts, 100 * planned, counts.sum())
    return [counts.tolist(), planned.tolist()], [prior - stats.multinomial.logpmf(counts, counts.sum(), planned)]


def size(rng, largest):
    return int(largest ** rng.random())


KINDS = [wilson, clopper_pearson, newcombe_independent, mcnemar_tests, tango, multiple_tests, mann_whitney, wilcoxon, clustered,
         paired_t, quantiles, binomial, kappa, krippendorff_alpha, classification, calibration, power, isotonic_fit,
         bernoulli_sequence, sample_ratio]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("--cases", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    result = {}
    for kind in KINDS:
        rng = np.random.default_rng([args.seed, KINDS.index(kind)])
        pairs = [kind(rng) for _ in range(args.cases)]
        clean = lambda value: None if math.isnan(value) else float(value)
        result[kind.__name__] = [{"in": given, "out": [clean(v) for v in out]} for given, out in pairs]
    with open(args.out, "w") as file:
        lines = [f' "{name}": [\n  ' + ",\n  ".join(map(json.dumps, cases)) + "\n ]" for name, cases in result.items()]
        file.write("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    main()
