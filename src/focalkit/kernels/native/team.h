// Work shared out to the threads that PyTorch has.

#pragma once

#include <atomic>
#include <cstdint>

namespace {

using i64 = std::int64_t;

// Threads to work with. `fork` is what OpenMP compiles a parallel region to: on each of them it calls work(data), and
// it waits for all. It is handed in, so that they are the threads that PyTorch has; null: there are none.
struct Team {
    void (*fork)(void (*work)(void *), void *data, unsigned threads, unsigned flags);
    int threads;

    // Calls work(i) for i < n, each by whichever thread is free.
    template <typename Work>
    void share(i64 n, const Work &work) const {
        struct Shared {
            const Work &work;
            i64 n;
            std::atomic<i64> next{0};
        } shared{work, n};
        const auto take = [](void *data) {
            Shared &s = *static_cast<Shared *>(data);
            for (i64 i; (i = s.next.fetch_add(1, std::memory_order_relaxed)) < s.n;) s.work(i);
        };
        if (fork && threads > 1 && n > 1) fork(take, &shared, unsigned(threads), 0);
        else take(&shared);
    }
};

}  // namespace
