// Philox4x64-10, as minidl/random.py has it: eight numbers of 32 bits for each (key, block), the low half of a word first.
struct Eight {
    unsigned bits[8];
};

__device__ inline Eight philox(const unsigned long long* key, unsigned long long block) {
    const unsigned long long M0 = 0xD2E7470EE14C6C93ull, M1 = 0xCA5A826395121157ull;
    const unsigned long long W0 = 0x9E3779B97F4A7C15ull, W1 = 0xBB67AE8584CAA73Bull;
    unsigned long long x0 = block + 1, x1 = 0, x2 = 0, x3 = 0, k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        unsigned long long high0 = __umul64hi(x0, M0), low0 = x0 * M0, high1 = __umul64hi(x2, M1), low1 = x2 * M1;
        x0 = high1 ^ x1 ^ k0, x1 = low1, x2 = high0 ^ x3 ^ k1, x3 = low0;
        k0 += W0, k1 += W1;
    }
    Eight out;
    unsigned long long words[4] = {x0, x1, x2, x3};
    for (int i = 0; i < 8; i++) out.bits[i] = (unsigned)(words[i / 2] >> 32 * (i % 2));
    return out;
}

// In (0, 1), never 0 or 1; exact in float.
__device__ inline float uniform(unsigned bits) {
    return ((bits >> 9) + 0.5f) * 0x1p-23f;
}
