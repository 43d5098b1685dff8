// V neighbours in memory, read and written at once: 16 bytes, or less, in one instruction. packs.py beside says what V may be.
template <class N> struct alignas(V * sizeof(N) < 16 ? V * sizeof(N) : 16) Pack {
    N at[V];
};

template <class N> __device__ Pack<N> load(const N* from) {
    return *(const Pack<N>*)from;
}

template <class N> __device__ void store(N* to, const Pack<N>& pack) {
    *(Pack<N>*)to = pack;
}
