// Many arrays in one launch: a kernel takes rows of arrays, of equally many numbers in each row.
//
//     struct Pair { T* w; const T* g; };
//     __global__ void down(const Table<Pair> table, A lr) {
//         over(table, [&](const Pair& at, int i) { at.w[i] -= lr * at.g[i]; });
//     }
//
// Rows are cut into pieces of PIECE numbers, and a block takes a piece: large arrays are shared by many blocks, small ones cost
// one each. tables.py beside fills the table.
//
// Why: a launch costs microseconds, and a net has hundreds of parameters, most of them small. The table is passed by value, so
// the addresses travel with the launch: nothing is copied to the GPU before it, and nothing must be kept until it has run.
template <class Arrays> struct Row {
    Arrays at;
    int count, end;  // numbers of each array; pieces of this row and of all rows before it
};

template <class Arrays> struct Table {
    static constexpr int ROWS = ROOM / sizeof(Row<Arrays>);
    static_assert(ROWS < 256, "over() looks for a row in eight steps");
    Row<Arrays> rows[ROWS];  // those beyond the last one that is used end where it does
};

template <class Arrays, class Each> __device__ void over(const Table<Arrays>& table, Each each) {
    constexpr int ROWS = Table<Arrays>::ROWS;
    for (int piece = blockIdx.x; piece < table.rows[ROWS - 1].end; piece += gridDim.x) {
        int row = 0;  // so many rows end before this piece: found by halves
        for (int step = 128; step > 0; step /= 2)
            if (row + step <= ROWS && table.rows[row + step - 1].end <= piece) row += step;
        const Arrays at = table.rows[row].at;
        int begin = (piece - (row ? table.rows[row - 1].end : 0)) * PIECE, end = min(begin + PIECE, table.rows[row].count);
        for (int i = begin + threadIdx.x; i < end; i += blockDim.x) each(at, i);
    }
}
