// A program whose names the compiler mangles: it dumps its own heap profile to the
// file in its argument.
#include <cstddef>

extern "C" int mallctl(const char *, void *, std::size_t *, void *, std::size_t);

namespace shop {
template <typename T> struct cache {
    T *last;
    [[gnu::noinline]] void put(const T *, int count) {
        for (int i = 0; i < count; i++)
            last = new T(); // forgotten by the next
    }
};
struct record { char text[100]; };
} // namespace shop

shop::cache<shop::record> records;

int main(int argc, char **argv) {
    records.put(nullptr, 40);
    return argc != 2 || mallctl("prof.dump", nullptr, nullptr, &argv[1], sizeof argv[1]) != 0;
}
