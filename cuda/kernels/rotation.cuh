// The rotation of sixteen values of a head, for every kernel that has it in passing, so that all of them round alike: half
// rotation as in Hugging Face, eight values of the first half with the same eight of the second. Angles are f32. Knows no
// positions and no rows.
#pragma once
#include "elementwise.cuh"

// Sixteen values of a head, eight of each half, as they are stored and as they are computed with.
struct Stored {
    Words first, second;
};
struct Pairs {
    float first[8], second[8];
};
DEVICE Stored load_pairs(const bf16* head, int half) { return Stored{load_words(head), load_words(head + half)}; }
DEVICE Pairs widen(const Stored& stored) {
    Pairs pairs;
    widen8(pairs.first, stored.first);
    widen8(pairs.second, stored.second);
    return pairs;
}
DEVICE void store_pairs(bf16* head, int half, const Stored& stored) {
    store_words(head, stored.first);
    store_words(head + half, stored.second);
}
DEVICE Stored narrow(const Pairs& pairs) { return Stored{narrow8(pairs.first), narrow8(pairs.second)}; }

// Cosines and sines of the pairs of a lane.
struct Angles {
    float cosine[8], sine[8];
};
DEVICE Angles load_angles(const float* cosines, const float* sines, i64 offset) {
    Angles angles;
    load8(angles.cosine, cosines + offset);
    load8(angles.sine, sines + offset);
    return angles;
}
// y1 = x1 c - x2 z, y2 = x2 c + x1 z; `sign` of z is -1 for the way back.
DEVICE void rotate(Pairs& x, const Angles& angles, float sign) {
    UNROLL for (int i = 0; i < 8; i++) {
        float c = angles.cosine[i], z = sign * angles.sine[i], first = x.first[i], second = x.second[i];
        x.first[i] = first * c - second * z;
        x.second[i] = second * c + first * z;
    }
}
