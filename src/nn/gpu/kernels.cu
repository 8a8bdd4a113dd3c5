// The fused layers on a GPU, over maps of rows of pixels of channels without any padding.
//
// Every kernel takes the same arguments, makes one piece of its result for each index, and shares nothing between threads:
// no barrier, no atomic. So the very same text, compiled as C, is run index by index in the tests of machines without a
// GPU (`INDEX` then is a variable).
//
// An activation is max(v, 0) + slope * min(v, 0), a slope per channel, as on the CPU.

#ifdef __CUDACC__
#define KERNEL extern "C" __global__ void
#define INDEX ((int)(blockIdx.x * blockDim.x + threadIdx.x))
#else
#include <math.h>
#define KERNEL void
#define __restrict__ restrict
typedef struct { float x, y, z, w; } float4;
static int INDEX;
void set_index(int index) { INDEX = index; }
#endif

typedef const float *__restrict__ In;

// Size of the map that is read, size of the one that is made, and a number that a kernel has a use for.
typedef struct {
    int height, width, channels;
    int to_height, to_width, to_channels;
    int extra;
} Dims;

#define ARGUMENTS In x, In weight, In bias, In slope, In add, float *__restrict__ to, Dims d, int count

#ifdef __CUDACC__
#define INLINE static __device__ __forceinline__
#else
#define INLINE static inline
#endif

INLINE float activated(float v, float slope) { return fmaxf(v, 0.0f) + slope * fminf(v, 0.0f); }

// Dense 3x3, zeros around, stride `extra`; weights taps x channels x outputs. An index is a value.
KERNEL conv3(ARGUMENTS) {
    int i = INDEX;
    if (i >= count) return;
    int c = i % d.to_channels, px = i / d.to_channels % d.to_width, py = i / d.to_channels / d.to_width;
    float sum = bias[c];
    for (int t = 0; t < 9; t++) {
        int row = py * d.extra + t / 3 - 1, column = px * d.extra + t % 3 - 1;
        if (row < 0 || row >= d.height || column < 0 || column >= d.width) continue;
        In pixel = x + (row * d.width + column) * d.channels;
        for (int k = 0; k < d.channels; k++)
            sum += pixel[k] * weight[(t * d.channels + k) * d.to_channels + c];
    }
    to[i] = activated(sum, slope[c]);
}

// Depthwise 3x3, zeros around, stride `extra`; weights taps x channels. An index is a value.
KERNEL depthwise(ARGUMENTS) {
    int i = INDEX;
    if (i >= count) return;
    int c = i % d.channels, px = i / d.channels % d.to_width, py = i / d.channels / d.to_width;
    float sum = bias[c];
    for (int t = 0; t < 9; t++) {
        int row = py * d.extra + t / 3 - 1, column = px * d.extra + t % 3 - 1;
        if (row < 0 || row >= d.height || column < 0 || column >= d.width) continue;
        sum += x[(row * d.width + column) * d.channels + c] * weight[t * d.channels + c];
    }
    to[i] = activated(sum, slope[c]);
}

// 1x1, and `add` if there is one before the activation; weights channels x outputs, outputs padded to fours, as bias and
// slope are. An index is four pixels times four outputs; neighbours share the pixels and read weights side by side.
KERNEL pointwise(ARGUMENTS) {
    int i = INDEX;
    if (i >= count) return;
    int fours = (d.to_channels + 3) / 4, pixels = d.to_height * d.to_width;
    int c = i % fours * 4, first = i / fours * 4;
    float sums[4][4] = {{0}};
    int at[4];
    // Beyond the end the last pixel is computed again, and not written.
    for (int p = 0; p < 4; p++) at[p] = (first + p < pixels ? first + p : pixels - 1) * d.channels;
    for (int k = 0; k < d.channels; k++) {
        float4 w = *(const float4 *)(weight + k * fours * 4 + c);
        for (int p = 0; p < 4; p++) {
            float v = x[at[p] + k];
            sums[p][0] += v * w.x;
            sums[p][1] += v * w.y;
            sums[p][2] += v * w.z;
            sums[p][3] += v * w.w;
        }
    }
    for (int p = 0; p < 4 && first + p < pixels; p++)
        for (int j = 0; j < 4 && c + j < d.to_channels; j++) {
            int o = (first + p) * d.to_channels + c + j;
            to[o] = activated(sums[p][j] + bias[c + j] + (add ? add[o] : 0.0f), slope[c + j]);
        }
}

// The greatest of 2x2. An index is a value.
KERNEL max_pool(ARGUMENTS) {
    int i = INDEX;
    if (i >= count) return;
    int c = i % d.channels, px = i / d.channels % d.to_width, py = i / d.channels / d.to_width;
    In upper = x + (2 * py * d.width + 2 * px) * d.channels + c, lower = upper + d.width * d.channels;
    to[i] = fmaxf(fmaxf(upper[0], upper[d.channels]), fmaxf(lower[0], lower[d.channels]));
}

// x + add, each pixel of `add` standing for 2x2, sides even. An index is a value.
KERNEL upsample_add(ARGUMENTS) {
    int i = INDEX;
    if (i >= count) return;
    int c = i % d.channels, px = i / d.channels % d.width, py = i / d.channels / d.width;
    to[i] = x[i] + add[(py / 2 * (d.width / 2) + px / 2) * d.channels + c];
}

// Each channel's weighted sum over the map; weights pixels x channels. An index is a channel.
KERNEL global_sum(ARGUMENTS) {
    int c = INDEX;
    if (c >= count) return;
    float sum = bias[c];
    for (int p = 0; p < d.height * d.width; p++) sum += x[p * d.channels + c] * weight[p * d.channels + c];
    to[c] = sum;
}

// Each channel's mean over the map. An index is a channel.
KERNEL mean(ARGUMENTS) {
    int c = INDEX;
    if (c >= count) return;
    float sum = 0.0f;
    for (int p = 0; p < d.height * d.width; p++) sum += x[p * d.channels + c];
    to[c] = sum / (float)(d.height * d.width);
}

// A small fully connected layer, weights channels x outputs; a sigmoid follows if `extra`, else a ReLU. An index is an
// output.
KERNEL layer(ARGUMENTS) {
    int o = INDEX;
    if (o >= count) return;
    float sum = bias[o];
    for (int k = 0; k < d.channels; k++) sum += x[k] * weight[k * d.to_channels + o];
    to[o] = d.extra ? 1.0f / (1.0f + expf(-sum)) : fmaxf(sum, 0.0f);
}

// x * weight + add, a weight per channel. An index is a value.
KERNEL gated(ARGUMENTS) {
    int i = INDEX;
    if (i >= count) return;
    to[i] = x[i] * weight[i % d.channels] + add[i];
}

// A part of a large fully connected layer: `extra` values of the map for each output; weights values x outputs. What goes
// in is scaled by `bias` and shifted by `slope`, a value per channel. An index is a part of an output.
KERNEL dense_parts(ARGUMENTS) {
    int i = INDEX;
    if (i >= count) return;
    int o = i % d.to_channels, first = i / d.to_channels * d.extra, values = d.height * d.width * d.channels;
    int last = first + d.extra < values ? first + d.extra : values;
    float sum = 0.0f;
    for (int k = first; k < last; k++) {
        int c = k % d.channels;
        sum += (x[k] * bias[c] + slope[c]) * weight[(long)k * d.to_channels + o];
    }
    to[i] = sum;
}

// Sums the `extra` parts of each output, scales by `bias`, shifts by `slope`, and ends with an activation whose slopes are
// `weight`. An index is an output.
KERNEL dense_sum(ARGUMENTS) {
    int o = INDEX;
    if (o >= count) return;
    float sum = 0.0f;
    for (int p = 0; p < d.extra; p++) sum += x[p * d.to_channels + o];
    to[o] = activated(sum * bias[o] + slope[o], weight[o]);
}

// Puts the map at place `extra` of what is made. An index is a value.
KERNEL put(ARGUMENTS) {
    int i = INDEX;
    if (i >= count) return;
    to[d.extra + i] = x[i];
}
