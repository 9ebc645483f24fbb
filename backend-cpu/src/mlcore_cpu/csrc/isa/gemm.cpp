// Matrix products on one thread: tiles for every dtype, and dot products for operands that are a few rows.
//
// This file is compiled with -ffp-contract=fast: a product and its sum are one fused instruction where there is one.
#include "gemm_block.hpp"
#include "gemm_small.hpp"
#include "isa_tables.hpp"

namespace mlcore_cpu {
namespace MLCORE_ISA {
namespace {

// Segments of L lanes in each of a and b, the halves of each added: half as long ones, those of a first.
template <int L, class V, int... I>
INL V halved(V a, V b, std::integer_sequence<int, I...>) {
    constexpr int H = L / 2;
    return __builtin_shufflevector(a, b, (I / H * L + I % H)...) + __builtin_shufflevector(a, b, (I / H * L + I % H + H)...);
}
template <class T, int L, int N>
INL Vec<T> folded(const Vec<T>* v) {
    if constexpr (L == 1) {
        return v[0];
    } else {
        constexpr int M = N > 1 ? N / 2 : 1;
        Vec<T> half[M];
#pragma GCC unroll 16
        for (int i = 0; i < M; ++i)
            half[i] = halved<L>(v[N > 1 ? 2 * i : 0], v[N > 1 ? 2 * i + 1 : 0], std::make_integer_sequence<int, Lanes<T>>());
        return folded<T, L / 2, M>(half);
    }
}
constexpr int largest_power(int at_most) {
    int n = 1;
    while (2 * n <= at_most) n *= 2;
    return n;
}
// sums[i] = add_up(v[i]), to the bit; together they need a third of the moves.
template <class T, int N>
INL void add_up_all(const Vec<T>* v, T* sums) {
    constexpr int TOGETHER = largest_power(N < Lanes<T> ? N : Lanes<T>);
    const Vec<T> found = folded<T, Lanes<T>, TOGETHER>(v);
    std::memcpy(sums, &found, TOGETHER * sizeof(T));
    if constexpr (N > TOGETHER) add_up_all<T, N - TOGETHER>(v + TOGETHER, sums + TOGETHER);
}

// R rows of a with C rows of b, along k.
template <class T, int R, int C>
void dot_tile(i64 k, const T* a, i64 a_rs, const T* b, i64 b_rs, T* sums) {
    constexpr int W = Lanes<T>;
    Vec<T> acc[R][C] = {};
    i64 p = 0;
    for (; p + W <= k; p += W) {
        Vec<T> x[R];
#pragma GCC unroll 8
        for (int i = 0; i < R; ++i) x[i] = load(a + i * a_rs + p);
#pragma GCC unroll 8
        for (int j = 0; j < C; ++j) {
            const Vec<T> y = load(b + j * b_rs + p);
#pragma GCC unroll 8
            for (int i = 0; i < R; ++i) acc[i][j] += x[i] * y;
        }
    }
    add_up_all<T, R * C>(&acc[0][0], sums);
    for (int i = 0; i < R; ++i)
        for (int j = 0; j < C; ++j) {
            T rest = 0;
            for (i64 q = p; q < k; ++q) rest += a[i * a_rs + q] * b[j * b_rs + q];
            sums[i * C + j] += rest;
        }
}

template <class T, int R>
void dot_rows(i64 n, i64 k, const T* a, i64 a_rs, const T* b, i64 b_rs, T* c, i64 c_rs, i64 c_cs, const T* init, i64 init_rs,
              i64 init_cs) {
    constexpr int C = R == 1 ? 8 : 4;
    T sums[R * C];
    auto keep = [&](i64 j, int columns) {
        for (int i = 0; i < R; ++i)
            for (int l = 0; l < columns; ++l)
                c[i * c_rs + (j + l) * c_cs] = sums[i * columns + l] + (init ? init[i * init_rs + (j + l) * init_cs] : T(0));
    };
    i64 j = 0;
    for (; j + C <= n; j += C) {
        dot_tile<T, R, C>(k, a, a_rs, b + j * b_rs, b_rs, sums);
        keep(j, C);
    }
    for (; j < n; ++j) {
        dot_tile<T, R, 1>(k, a, a_rs, b + j * b_rs, b_rs, sums);
        keep(j, 1);
    }
}

template <class T>
void dots(i64 m, i64 n, i64 k, const char* av, i64 a_rs, const char* bv, i64 b_rs, char* cv, i64 c_rs, i64 c_cs, const char* iv,
          i64 init_rs, i64 init_cs) {
    const T* b = reinterpret_cast<const T*>(bv);
    for (i64 i = 0; i < m;) {
        const T* a = reinterpret_cast<const T*>(av) + i * a_rs;
        T* c = reinterpret_cast<T*>(cv) + i * c_rs;
        const T* init = iv ? reinterpret_cast<const T*>(iv) + i * init_rs : nullptr;
        const i64 rows = std::min<i64>(4, m - i);
        switch (rows) {
            case 1: dot_rows<T, 1>(n, k, a, a_rs, b, b_rs, c, c_rs, c_cs, init, init_rs, init_cs); break;
            case 2: dot_rows<T, 2>(n, k, a, a_rs, b, b_rs, c, c_rs, c_cs, init, init_rs, init_cs); break;
            case 3: dot_rows<T, 3>(n, k, a, a_rs, b, b_rs, c, c_rs, c_cs, init, init_rs, init_cs); break;
            default: dot_rows<T, 4>(n, k, a, a_rs, b, b_rs, c, c_rs, c_cs, init, init_rs, init_cs);
        }
        i += rows;
    }
}

// c (R, n) = init + a (R, k) @ b (k, n), R few: b is read once, row after row, in blocks of columns whose sums stay in L1.
template <class T, int R>
void axpy_rows(i64 n, i64 k, const T* a, i64 a_rs, i64 a_cs, const T* b, i64 b_rs, T* c, i64 c_rs, const T* init, i64 init_rs) {
    constexpr i64 W = Lanes<T>, COLUMNS = 1024, STEP = 8;
    for (i64 j0 = 0; j0 < n; j0 += COLUMNS) {
        const i64 columns = std::min(COLUMNS, n - j0);
        for (int i = 0; i < R; ++i) {
            T* to = c + i * c_rs + j0;
            if (init) std::copy(init + i * init_rs + j0, init + i * init_rs + j0 + columns, to);
            else std::fill(to, to + columns, T(0));
        }
        for (i64 p = 0; p < k; p += STEP) {
            const i64 steps = std::min(STEP, k - p);
            T x[R][STEP] = {};
            for (int i = 0; i < R; ++i)
                for (i64 q = 0; q < steps; ++q) x[i][q] = a[i * a_rs + (p + q) * a_cs];
            const T* from = b + p * b_rs + j0;
            i64 j = 0;
            if (steps == STEP) {
                for (; j + W <= columns; j += W) {
                    Vec<T> row[STEP];
#pragma GCC unroll 8
                    for (int q = 0; q < STEP; ++q) row[q] = load(from + q * b_rs + j);
#pragma GCC unroll 4
                    for (int i = 0; i < R; ++i) {
                        Vec<T> sum = load(c + i * c_rs + j0 + j);
#pragma GCC unroll 8
                        for (int q = 0; q < STEP; ++q) sum += row[q] * x[i][q];
                        store(c + i * c_rs + j0 + j, sum);
                    }
                }
            }
            for (int i = 0; i < R; ++i)
                for (i64 q = 0; q < steps; ++q)
                    for (i64 l = j; l < columns; ++l) c[i * c_rs + j0 + l] += x[i][q] * from[q * b_rs + l];
        }
    }
}
template <class T>
void axpys(i64 m, i64 n, i64 k, const char* av, i64 a_rs, i64 a_cs, const char* bv, i64 b_rs, char* cv, i64 c_rs, const char* iv,
           i64 init_rs) {
    const T *a = reinterpret_cast<const T*>(av), *b = reinterpret_cast<const T*>(bv), *init = reinterpret_cast<const T*>(iv);
    T* c = reinterpret_cast<T*>(cv);
    switch (m) {
        case 1: return axpy_rows<T, 1>(n, k, a, a_rs, a_cs, b, b_rs, c, c_rs, init, init_rs);
        case 2: return axpy_rows<T, 2>(n, k, a, a_rs, a_cs, b, b_rs, c, c_rs, init, init_rs);
        case 3: return axpy_rows<T, 3>(n, k, a, a_rs, a_cs, b, b_rs, c, c_rs, init, init_rs);
        default: return axpy_rows<T, 4>(n, k, a, a_rs, a_cs, b, b_rs, c, c_rs, init, init_rs);
    }
}

template <class From, class T, int IN, int ACC>
const GemmKernel* entry() {
    static const GemmKernel made = [] {
        GemmKernel k = kernel<Plain<From, T>>(IN, ACC);
        if constexpr (std::is_same_v<From, T> && std::is_floating_point_v<T>) {
            k.dots = &dots<T>;
            k.axpys = &axpys<T>;
            k.small = &small_product<T>;
        }
        return k;
    }();
    return &made;
}

}  // namespace

const GemmTable* gemm_table() {
    static const GemmTable table = [] {
        GemmTable t{};
        t.of[I8] = entry<std::int8_t, std::int32_t, I8, I32>();
        t.of[I16] = entry<std::int16_t, std::int32_t, I16, I32>();
        t.of[I32] = entry<std::int32_t, std::int32_t, I32, I32>();
        t.of[I64] = entry<std::int64_t, std::int64_t, I64, I64>();
        t.of[U8] = entry<std::uint8_t, std::int32_t, U8, I32>();
        t.of[U16] = entry<std::uint16_t, std::int32_t, U16, I32>();
        t.of[U32] = entry<std::uint32_t, std::int32_t, U32, I32>();
        t.of[U64] = entry<std::uint64_t, std::int64_t, U64, I64>();
        t.of[F16] = entry<Half, float, F16, F32>();
        t.of[BF16] = entry<Brain, float, BF16, F32>();
        t.of[F32] = entry<float, float, F32, F32>();
        t.of[F64] = entry<double, double, F64, F64>();
        add_dot_kernels(t);
        return t;
    }();
    return &table;
}

}  // namespace MLCORE_ISA
}  // namespace mlcore_cpu
