// What pooling kernels share. Maps are [N, H, W, C] and [N, P, Q, C]; R, S and V are constants, and BYTES are those of a Code:
// which position of its window a number has, r * S + s. A block takes a row of pixels, a thread V channels of one of them.
template <int BYTES_> struct Unsigned;
template <> struct Unsigned<1> { typedef unsigned char type; };
template <> struct Unsigned<2> { typedef unsigned short type; };
template <> struct Unsigned<4> { typedef unsigned type; };
typedef Unsigned<BYTES>::type Code;

struct Windows {
    int H, W, C, P, Q, sh, sw, top, left, dh, dw;
};

// each(column, channel) for a row: neighbours have neighbouring channels. Divided once for a row, not for each number.
template <class Each> __device__ void over_row(int columns, int C, Each each) {
    int lanes = min(C / V, (int)blockDim.x), step = blockDim.x / lanes, place = threadIdx.x / lanes;
    if (place == step) return;  // a rest of the block
    for (int column = place; column < columns; column += step)
        for (int c = threadIdx.x % lanes * V; c < C; c += lanes * V) each(column, c);
}

// Which position lies so many rows (or columns) behind the first of its window; -1: none, a gap.
__device__ inline int position(int behind, int gap) {
    if (gap == 1) return behind;
    return behind % gap ? -1 : behind / gap;
}

// each(window, position) for the windows of image n that see (h, v): window = (n * P + p) * Q + q, position = r * S + s. The
// last window first: positions then come in reading order, in which the plain kernels add up. So the bits are theirs.
template <class Each> __device__ void over_windows(const Windows& w, int n, int h, int v, Each each) {
    for (int p = min((h + w.top) / w.sh, w.P - 1); p >= 0 && h + w.top - p * w.sh <= w.dh * (R - 1); p--) {
        int r = position(h + w.top - p * w.sh, w.dh);
        if (r < 0) continue;
        for (int q = min((v + w.left) / w.sw, w.Q - 1); q >= 0 && v + w.left - q * w.sw <= w.dw * (S - 1); q--) {
            int s = position(v + w.left - q * w.sw, w.dw);
            if (s >= 0) each((n * w.P + p) * w.Q + q, r * S + s);
        }
    }
}

// dx = the sum of dy over the windows that chose this number: a gather, so that no two threads write to the same place.
__device__ inline void gather(const T* dy, const Code* code, T* dx, int rows, const Windows& w) {
    for (int row = blockIdx.x; row < rows; row += gridDim.x) {
        int n = row / w.H, h = row % w.H;
        over_row(w.W, w.C, [&](int v, int c) {
            A sum[V] = {};
            over_windows(w, n, h, v, [&](int window, int position) {
                Pack<Code> chosen = load(code + window * w.C + c);
                Pack<T> g = load(dy + window * w.C + c);
                for (int k = 0; k < V; k++) sum[k] += chosen.at[k] == position ? (A)g.at[k] : 0;
            });
            Pack<T> out;
            for (int k = 0; k < V; k++) out.at[k] = sum[k];
            store(dx + (row * w.W + v) * w.C + c, out);
        });
    }
}
