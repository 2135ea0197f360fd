"""The median of paired ratios, with limits that count processes as well as samples."""

import random
import statistics

RESAMPLES = 2000


def median_with_limits(groups):
    """Median and 95 % limits by a bootstrap over processes and, within each, over pairs. `groups` holds the ratios of
    each process. The same ratios give the same limits."""
    pooled = [ratio for group in groups for ratio in group]
    draw = random.Random(1)
    medians = []
    for _ in range(RESAMPLES):
        chosen = draw.choices(groups, k=len(groups))
        medians.append(
            statistics.median(ratio for group in chosen for ratio in draw.choices(group, k=len(group)))
        )
    medians.sort()
    cut = RESAMPLES // 40
    return statistics.median(pooled), medians[cut], medians[-cut - 1]
