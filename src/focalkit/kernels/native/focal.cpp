// Focal losses and their gradients on a CPU: each logit is read once and its gradient written once.
//
// Compiled by `build.py`, called by `cpu.py`. Numbers are computed in float32 and summed in float64, in an order that
// does not depend on the threads. Loops are written so that compilers turn them into vector instructions: no calls, no
// jumps.
//
//   LOGIT_BF16   1: logits and gradients are bfloat16; 0: float32
//   SQUARED      1: the exponents of both sides are 2, as nearly always; 0: they are given at run time

#include "sigmoid.h"
#include "softmax.h"
#include "threads.h"

#if !LOGIT_BF16 && SQUARED
#include "winograd.h"  // once is enough, and in float32
#endif

namespace {

// n rows or outer indices of some elements each, in chunks.
std::vector<Chunk> cut_rows(const Level &l, i64 n, i64 elements, i64 multiple) {
    std::vector<Chunk> chunks;
    cut(n, chunk_size(n * elements) / std::max<i64>(elements, 1), multiple,
        [&](i64 from, i64 to) { chunks.push_back({&l, 0, 0, l.classes, from, to}); });
    return chunks;
}

// Whether labels as int32 would take more than a tenth of the memory of the logits: each chunk reads its own then.
inline bool few_classes(const Level &l) { return l.classes * i64(sizeof(Logit)) < 10 * i64(sizeof(std::int32_t)); }

// Classes and their positions, in chunks of elements that lie together in memory; of few classes all.
std::vector<Chunk> cut_classes(const Level &l) {
    std::vector<Chunk> chunks;
    const i64 size = chunk_size(l.outer * l.classes * l.inner);
    const i64 classes = few_classes(l) ? l.classes : std::max<i64>(1, size / l.inner);
    const i64 positions = few_classes(l) ? size / std::max<i64>(1, l.classes) : size;
    for (i64 s = 0; s < l.outer; ++s)
        cut(l.classes, classes, 1, [&](i64 first, i64 last) {
            cut(l.inner, positions, STEP, [&](i64 from, i64 to) { chunks.push_back({&l, s, first, last, from, to}); });
        });
    return chunks;
}

// How many rows have a label that is not ignored and, where there are weights, one that is not 0.
double count_rows(const Level &l, int kind, std::int32_t ignore, const float *weight, Team team) {
    const i64 rows = l.outer * l.inner;
    double out[3];
    add_up((rows + CHUNK - 1) / CHUNK, team, out, [&](i64 i) {
        const i64 from = i * CHUNK, n = std::min(CHUNK, rows - from);
        std::vector<std::int32_t> label(n);
        read_labels(l.labels, kind, from, n, label.data());
        std::int32_t valid = 0;
        if (weight)
            for (i64 r = 0; r < n; ++r) valid += (label[r] != ignore) & (weight[from + r] != 0);
        else
            for (i64 r = 0; r < n; ++r) valid += label[r] != ignore;
        return Sum{0, double(valid), 0};
    });
    return out[1];
}

// The parameters with gradients divided by the number of valid elements, at least 1.
Focal divided(Focal w, double count) {
    w.scale = float(double(w.scale) / std::max(count, 1.0));
    return w;
}

template <bool GRADIENT>
void labels_pass(const Level *levels, int count, int kind, std::int32_t ignore, const Focal &w, const Classes &c,
                 Team team, double *out) {
    const ClassWeights weights(w, c);
    std::vector<Chunk> chunks;
    for (const Level *l = levels; l < levels + count; ++l) {
        const i64 size = l->classes * l->inner;
        const std::vector<Chunk> more = short_inner(*l) ? cut_rows(*l, size ? l->outer : 0, size, 1) : cut_classes(*l);
        chunks.insert(chunks.end(), more.begin(), more.end());
    }
    // the labels of an outer index, kept with the first of its chunks
    std::vector<Labels> labels(chunks.size());
    std::vector<i64> first(chunks.size());
    for (i64 i = 0; i < i64(chunks.size()); ++i) {
        const bool same = i && chunks[i].level == chunks[i - 1].level && chunks[i].outer == chunks[i - 1].outer;
        first[i] = same ? first[i - 1] : i;
    }
    team.share(i64(chunks.size()), [&](i64 i) {
        const Level &l = *chunks[i].level;
        if (first[i] == i && !short_inner(l) && !few_classes(l))
            labels[i] = look_at(l, chunks[i].outer, 0, l.inner, kind, ignore);
    });
    add_up(i64(chunks.size()), team, out, [&](i64 i) {
        const Chunk &p = chunks[i];
        const Level &l = *p.level;
        if (short_inner(l)) return whole_outer<GRADIENT>(l, p.from, p.to, kind, ignore, w, weights);
        if (!few_classes(l)) return class_by_class<GRADIENT>(p, ignore, labels[first[i]], w, weights);
        return class_by_class<GRADIENT>(p, ignore, look_at(l, p.outer, p.from, p.to, kind, ignore), w, weights);
    });
}

template <bool GRADIENT, typename Target>
void dense_pass(const Logit *x, const void *t, Logit *g, i64 n, i64 inner, float ignore, const Focal &w,
                const Classes &c, Team team, double *out) {
    const ClassWeights weights(w, c);
    const Target *target = static_cast<const Target *>(t);
    const i64 size = chunk_size(n);
    add_up((n + size - 1) / size, team, out, [&](i64 i) {
        const i64 from = i * size, length = std::min(size, n - from);
        return dense<GRADIENT>(x + from, target + from, g + from, from, length, inner, ignore, w, weights);
    });
}

template <bool GRADIENT>
void softmax_pass(const Level &l, const RowTerms &c, int kind, std::int32_t ignore, const Focal &w, Team team,
                  double *out) {
    const std::vector<Chunk> chunks = cut_rows(l, l.outer * l.inner, l.classes, lengthwise(l) ? 1 : LANES);
    add_up(i64(chunks.size()), team, out,
           [&](i64 i) { return softmax_rows<GRADIENT>(l, c, chunks[i].from, chunks[i].to, kind, ignore, w); });
}

}  // namespace

// `out` takes a `Sum`. `gradient`: whether to write any; `mean`: whether to divide it by the number of valid elements.
// `kind` of labels: bytes of their integers, 0 for uint8.
extern "C" {

void sigmoid_focal_labels(const Level *levels, int count, int kind, std::int32_t ignore, int gradient, int mean,
                          const Focal *w, const Classes *c, const Team *team, double *out) {
    double valid = 0;
    for (const Level *l = levels; gradient && mean && l < levels + count; ++l)
        valid += count_rows(*l, kind, ignore, nullptr, *team) * ClassWeights(*w, *c).present(l->classes);
    const Focal focal = mean ? divided(*w, valid) : *w;
    if (gradient)
        for (const Level *l = levels; l < levels + count; ++l) expect_writes(l->g, l->outer * l->classes * l->inner);
    (gradient ? labels_pass<true> : labels_pass<false>)(levels, count, kind, ignore, focal, *c, *team, out);
}

// Logits (outer, classes, inner). `kind` of targets: 4 float32, 2 bfloat16, 1 bool. An `ignore` of NaN: all count.
void sigmoid_focal_dense(const Logit *x, const void *t, Logit *g, i64 n, i64 inner, int kind, float ignore, int gradient,
                         const Focal *w, const Classes *c, const Team *team, double *out) {
    if (gradient) expect_writes(g, n);
    const auto pass = [&](auto target) {
        using Target = decltype(target);
        const auto run = gradient ? dense_pass<true, Target> : dense_pass<false, Target>;
        run(x, t, g, n, inner, ignore, *w, *c, *team, out);
    };
    if (kind == 4) pass(float{});
    if (kind == 2) pass(Bf16{});
    if (kind == 1) pass(std::uint8_t{});
}

void softmax_focal(const Level *level, const RowTerms *rows, int kind, std::int32_t ignore, int gradient, int mean,
                   const Focal *w, const Team *team, double *out) {
    const double valid = gradient && mean ? count_rows(*level, kind, ignore, rows->weight, *team) : 0;
    const Focal focal = mean ? divided(*w, valid) : *w;
    if (gradient) expect_writes(level->g, level->outer * level->classes * level->inner);
    (gradient ? softmax_pass<true> : softmax_pass<false>)(*level, *rows, kind, ignore, focal, *team, out);
}
}
