// Two kernels as a careful C programmer writes them, for one thread.
#include <stddef.h>

// y += a x. Its speed on arrays larger than every cache is the axpy roof that `saxpy` is held against.
void axpy(long n, float a, const float *restrict x, float *restrict y) {
    for (long i = 0; i < n; i++) y[i] += a * x[i];
}

static void heat_row(long n, const float *restrict u, float *restrict v) {
    for (long j = 1; j < n - 1; j++)
        v[j] = u[j] + 0.2f * (u[j - n] + u[j + n] + u[j - 1] + u[j + 1] - 4.0f * u[j]);
}

// Steps of the heat equation between two arrays, up to ten at once: row i of a step runs as soon as row i + 1 of the step
// before is done, so that the rows in flight stay in a cache. The boundary of both arrays is the same and stays. The
// result is in `a` if the number of steps is even, else in `b`.
void heat2d_time_tiled(long n, long steps, float *a, float *b) {
    const long most = 10;
    for (long t0 = 0; t0 < steps; t0 += most) {
        long at_once = steps - t0 < most ? steps - t0 : most;
        for (long w = 1; w < n - 1 + 2 * at_once; w++)
            for (long t = 0; t < at_once; t++) {
                long i = w - 2 * t;
                if (i < 1 || i >= n - 1) continue;
                const float *from = (t0 + t) & 1 ? b : a;
                float *to = (t0 + t) & 1 ? a : b;
                heat_row(n, from + i * n, to + i * n);
            }
    }
}
