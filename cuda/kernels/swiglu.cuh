// The gated activation of eight values and its gradient, for every kernel that has them in passing, so that all of them
// round alike. Knows no memory.
#pragma once
#include "elementwise.cuh"

DEVICE float sigmoid(float x) { return reciprocal_fast(1.0f + exp2_fast(-LOG2_E * x)); }

// h = gate * sigmoid(gate) * up
DEVICE Words gated(Words gates, Words ups) {
    float g[8], u[8];
    widen8(g, gates);
    widen8(u, ups);
    UNROLL for (int i = 0; i < 8; i++) g[i] = g[i] * sigmoid(g[i]) * u[i];
    return narrow8(g);
}

// Gates and ups become their gradients, and the gradient of h becomes h.
DEVICE void gated_backward(Words& gates, Words& ups, Words& slopes) {
    float g[8], u[8], d[8];
    widen8(g, gates);
    widen8(u, ups);
    widen8(d, slopes);
    UNROLL for (int i = 0; i < 8; i++) {
        float s = sigmoid(g[i]), silu = g[i] * s, up = u[i], slope = d[i];
        g[i] = slope * up * (s + silu * (1.0f - s));
        u[i] = slope * silu;
        d[i] = silu * up;
    }
    gates = narrow8(g);
    ups = narrow8(u);
    slopes = narrow8(d);
}
