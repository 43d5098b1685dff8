// Local response normalisation, one thread a pixel. Formulas: __init__.py beside.
//
//     s = k + alpha sum of x^2 over the window       y = x s^-beta
//     dx = dy s^-beta - 2 alpha beta x * window_sum(dy x s^-beta / s)
//
// Why: neighbouring threads have neighbouring pixels, so each channel is read once and at full width, and the window's sum slides:
// one number comes in and one goes out, whatever n is. s is written too: backward needs it twice for each channel.

extern "C" __global__ void lrn_forward(const T* x, T* y, T* s, int pixels, int C, int HW, int half, A alpha, A beta, A k) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < pixels; i += gridDim.x * blockDim.x) {
        long long first = (long long)(i / HW) * C * HW + i % HW;  // channel 0 of pixel i
        A sum = 0;
        for (int j = 0; j < half && j < C; j++) {
            A value = x[first + (long long)j * HW];
            sum += value * value;
        }
        for (int c = 0; c < C; c++) {
            if (c + half < C) {
                A value = x[first + (long long)(c + half) * HW];
                sum += value * value;
            }
            if (c > half) {
                A value = x[first + (long long)(c - half - 1) * HW];
                sum -= value * value;
            }
            long long here = first + (long long)c * HW;
            A scale = k + alpha * sum;
            s[here] = scale;
            y[here] = (A)x[here] * pow(scale, -beta);
        }
    }
}

extern "C" __global__ void lrn_backward(const T* dy, const T* x, const T* s, T* dx, int pixels, int C, int HW, int half, A alpha,
                                        A beta) {
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < pixels; i += gridDim.x * blockDim.x) {
        long long first = (long long)(i / HW) * C * HW + i % HW;
        A sum = 0;
        for (int c = -half; c < C; c++) {
            int enters = c + half, leaves = c - half - 1;
            if (enters < C) {
                long long at = first + (long long)enters * HW;
                sum += (A)dy[at] * (A)x[at] * pow((A)s[at], -beta - 1);
            }
            if (leaves >= 0) {
                long long at = first + (long long)leaves * HW;
                sum -= (A)dy[at] * (A)x[at] * pow((A)s[at], -beta - 1);
            }
            if (c >= 0) {
                long long here = first + (long long)c * HW;
                dx[here] = (A)dy[here] * pow((A)s[here], -beta) - 2 * alpha * beta * (A)x[here] * sum;
            }
        }
    }
}
