// Work and memory shared out.

#pragma once

#include <algorithm>
#include <vector>

#include "team.h"
#include "weights.h"

#ifdef __linux__
#include <sys/mman.h>
#endif

namespace {

// A gradient in fresh memory costs a page fault per 4 KB, more than its computation: asks for large pages.
void expect_writes(Logit *gradient, i64 elements) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    constexpr std::uintptr_t PAGE = 4096, LARGE = std::uintptr_t(32) << 20;  // what malloc takes fresh from the system
    const std::uintptr_t from = (reinterpret_cast<std::uintptr_t>(gradient) + PAGE - 1) / PAGE * PAGE;
    const std::uintptr_t to = reinterpret_cast<std::uintptr_t>(gradient + elements) / PAGE * PAGE;
    if (to > from + LARGE) madvise(reinterpret_cast<void *>(from), to - from, MADV_HUGEPAGE);
#endif
}

// Adds the sums of work(i) for i < chunks, in their order.
template <typename Work>
void add_up(i64 chunks, Team team, double *out, const Work &work) {
    std::vector<Sum> sums(chunks);
    team.share(chunks, [&](i64 i) { sums[i] = work(i); });
    Sum total;
    for (const Sum &s : sums) total.value += s.value, total.count += s.count, total.out_of_range += s.out_of_range;
    out[0] = total.value;
    out[1] = total.count;
    out[2] = total.out_of_range;
}

// Elements of a chunk: fewer where there are few in all, so that there is work for several threads. The number of threads
// makes no difference, or it would to the sums.
inline i64 chunk_size(i64 elements) { return std::min(CHUNK, std::max(CHUNK / 8, elements / 64 / STEP * STEP)); }

// Cuts n into equal parts of about `most`, at multiples of `multiple`, and calls each(from, to).
template <typename Each>
void cut(i64 n, i64 most, i64 multiple, const Each &each) {
    const i64 parts = std::max<i64>(1, n / std::max<i64>(most, 1));
    const auto edge = [&](i64 p) { return p == parts ? n : n * p / parts / multiple * multiple; };
    for (i64 p = 0; p < parts; ++p)
        if (edge(p) < edge(p + 1)) each(edge(p), edge(p + 1));
}

}  // namespace
