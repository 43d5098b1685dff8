// Local response normalisation, one thread a pixel. Formulas: __init__.py beside.
//
//     s = k + alpha window_sum(x^2)       y = x s^-beta
//     dx = dy s^-beta - 2 alpha beta x * window_sum(dy x s^-beta / s)
//
// Why: neighbouring threads have neighbouring pixels, so every channel is read at full width, and of a window of n all but the newest
// channel come from the nearest cache. (A sum that slides, one number in and one out, keeps the rounding of what has left.)
// s is written too: backward needs it n + 1 times for each number.

extern "C" __global__ void lrn_forward(const T* x, T* y, T* s, int pixels, int C, int HW, int half, A alpha, A beta, A k) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < pixels; i += gridDim.x * blockDim.x) {
        int first = i / HW * C * HW + i % HW;  // channel 0 of pixel i
        for (int c = 0; c < C; c++) {
            A sum = 0;
            for (int j = max(c - half, 0); j <= min(c + half, C - 1); j++) {
                A value = x[first + j * HW];
                sum += value * value;
            }
            int here = first + c * HW;
            A scale = k + alpha * sum;
            s[here] = scale;
            y[here] = (A)x[here] * pow(scale, -beta);
        }
    }
}

extern "C" __global__ void lrn_backward(const T* dy, const T* x, const T* s, T* dx, int pixels, int C, int HW, int half, A alpha,
                                        A beta) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < pixels; i += gridDim.x * blockDim.x) {
        int first = i / HW * C * HW + i % HW;
        for (int c = 0; c < C; c++) {
            A sum = 0;
            for (int j = max(c - half, 0); j <= min(c + half, C - 1); j++) {
                int there = first + j * HW;
                sum += (A)dy[there] * (A)x[there] * pow((A)s[there], -beta - 1);
            }
            int here = first + c * HW;
            dx[here] = (A)dy[here] * pow((A)s[here], -beta) - 2 * alpha * beta * (A)x[here] * sum;
        }
    }
}
