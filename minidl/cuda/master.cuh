// The number that an update rule edits: of a half parameter its float32 copy ("master"), otherwise the parameter itself, which is
// then what master points to. Where w is not its copy's rounding, somebody has set it since, and the copy follows.
__device__ inline A exact(const T* w, const A* master, int i) {
    A kept = master[i];
    return sizeof(T) == sizeof(A) || (A)(T)kept == (A)w[i] ? kept : (A)w[i];
}

__device__ inline void keep(T* w, A* master, int i, A value) {
    master[i] = value;
    if (sizeof(T) < sizeof(A)) w[i] = value;
}
