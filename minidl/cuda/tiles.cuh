// Matrix products by tiles. A block makes a tile [ROWS, COLUMNS] of the result. It goes along the sum DEEP terms at a time: the
// next STAGES - 1 pieces of both factors are on their way to shared memory while one is multiplied.
// To be included after mma.cuh, where it is known what a block is: WM x WN warps, each of MT x NT smaller tiles.
extern __shared__ __align__(16) unsigned char pool[];  // of each factor STAGES pieces

// A piece of a factor in shared memory: DEEP terms of each of PLACES rows (of the other factor: columns). The terms of a place
// lie ALONG, side by side, or else the places of a term do. Lines are longer than what is in them, so that the lanes of a warp,
// which read four lines of eight places or eight of four terms, find their numbers in 32 banks.
template <bool ALONG, int PLACES> struct Piece {
    static constexpr int LINE = ALONG ? DEEP + 4 : PLACES + 8, NUMBERS = (ALONG ? PLACES : DEEP) * LINE;
    static __device__ int at(int place, int k) { return ALONG ? place * LINE + k : k * LINE + place; }
};

// sums += the products of `steps` pieces. load(left, right) begins to copy the next piece of each factor: zeros after the last.
template <class Left, class Right, class Sums, class Load> __device__ void add_up(Sums& sums, int steps, Load load) {
    auto left = [](int step) { return (A*)pool + step % STAGES * (Left::NUMBERS + Right::NUMBERS); };
    auto begin = [&](int step) { load(left(step), left(step) + Left::NUMBERS); };
    for (int s = 0; s < STAGES - 1; s++) begin(s), copies_begun();
    for (int s = 0; s < steps; s++) {
        copies_left<STAGES - 2>();
        __syncthreads();  // all have what they copied, and nobody reads the piece that is written next
        if (s + STAGES - 1 < steps) begin(s + STAGES - 1);
        copies_begun();
        sums.template add<Left, Right>(left(s), left(s) + Left::NUMBERS);
    }
    copies_left<0>();
    __syncthreads();
}

// The sums that a thread holds where tensor cores add them up: of the tile [16 MT, 8 NT] of its warp, HIGH x WIDE numbers.
struct TensorSums {
    static constexpr int HIGH = 2 * MT, WIDE = 2 * NT;
    A sums[MT][NT][4] = {};

    static __device__ int row(int u) { return threadIdx.x / 32 / WN * 16 * MT + 8 * u + threadIdx.x % 32 / 4; }
    static __device__ int column(int v) { return threadIdx.x / 32 % WN * 8 * NT + v / 2 * 8 + threadIdx.x % 4 * 2 + v % 2; }
    __device__ A at(int u, int v) const { return sums[u / 2][v / 2][u % 2 * 2 + v % 2]; }

    // A piece of the one factor times one of the other.
    template <class Left, class Right> __device__ void add(const A* left, const A* right) {
        int t = threadIdx.x % 4, first = threadIdx.x / 32 % WN * 8 * NT + threadIdx.x % 32 / 4;
        A b[NT][4];
#pragma unroll
        for (int v = 0; v < NT; v++) {
#pragma unroll
            for (int i = 0; i < 4; i++) b[v][i] = right[Right::at(first + 8 * v, 4 * i + t)];
        }
#pragma unroll
        for (int u = 0; u < MT; u++) {
            A a[8];
#pragma unroll
            for (int i = 0; i < 8; i++) a[i] = left[Left::at(row(2 * u + i % 2), i / 2 * 4 + t)];
#pragma unroll
            for (int v = 0; v < NT; v++) multiply(sums[u][v], a, b[v]);
        }
    }
};

// Sums whose terms were split: the parts [splits, numbers] added up in their order, and a bias for rows of `columns` (0: none).
extern "C" __global__ void joined(T* out, const A* parts, const T* bias, int numbers, int splits, int out_at, int columns) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < numbers; i += gridDim.x * blockDim.x) {
        A sum = 0;
        for (int s = 0; s < splits; s++) sum += parts[s * numbers + i];
        out[out_at + i] = columns ? sum + (A)bias[i % columns] : sum;
    }
}
