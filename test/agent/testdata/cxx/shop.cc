#include "shop.h"

#include <map>
#include <memory>
#include <stdexcept>
#include <string>

namespace shop {

struct record {
	char text[1000];
};

class cache {
public:
	__attribute__((noinline)) void put(int key)
	{
		try {
			check(key);
		} catch (const std::exception &) {
			records[key] = std::make_unique<record>();
		}
	}

private:
	__attribute__((noinline)) void check(int key)
	{
		throw std::runtime_error("there is no record with the number " + std::to_string(key));
	}
	std::map<int, std::unique_ptr<record>> records;
};

static cache all;

}

static int last;

void shop_put(int n)
{
	while (n-- > 0)
		shop::all.put(last++);
}

static __attribute__((noinline)) int depth(int n)
{
	std::string text(100 + n, 'x');

	if (n == 0)
		throw text;
	return depth(n - 1) + (int)text.size();
}

int shop_throw(int n)
{
	int caught = 0;

	for (int i = 0; i < n; i++) {
		try {
			depth(i % 50);
		} catch (const std::string &) {
			caught++;
		}
	}
	return caught;
}
