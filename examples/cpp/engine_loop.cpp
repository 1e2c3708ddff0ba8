// A game's own loop: 60 fixed steps a second, entities that clients steer, a snapshot of the world to everybody after
// each step, and 32 bots that play. Usage: engine_loop [seconds [bots]]
//
// Clients predict nothing: they show the newest snapshot that they have. Snapshots and inputs are therefore sequenced:
// sent once, and an older one never comes after a newer one.
#include <gamekeeper.hpp>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <iomanip>
#include <iostream>
#include <map>
#include <thread>

using namespace std::chrono_literals;
using steady = std::chrono::steady_clock;

namespace {

constexpr auto step = std::chrono::duration_cast<steady::duration>(std::chrono::duration<double>(1.0 / 60));
// A loop that is later than this leaves steps out, rather than hurry through them.
constexpr int max_steps_behind = 6;
constexpr float speed = 5, world_size = 100, seconds_per_step = 1.0f / 60;

// What travels. Both ends are this program; a game between machines of two kinds writes bytes in an agreed order.
struct input {
    int8_t x, y;
};
struct placed {
    uint32_t owner;
    float x, y;
};
struct snapshot_head {
    uint32_t step, count;
};

struct entity {
    placed at;
    input wanted;
};

// The server's side. It knows no thread but that of the loop.
class game {
public:
    explicit game(gk::server server) : server_(std::move(server)) {}

    gk::server &server() { return server_; }
    size_t players() const { return entities_.size(); }

    // One step of the world: what came in, what moves, what goes out.
    void advance() {
        while (take()) {
        }
        for (auto &[peer, moving] : entities_) {
            auto along = [](float position, int8_t direction) {
                return std::clamp(position + speed * seconds_per_step * static_cast<float>(direction), 0.0f, world_size);
            };
            moving.at.x = along(moving.at.x, moving.wanted.x);
            moving.at.y = along(moving.at.y, moving.wanted.y);
        }
        step_++;
        if (!entities_.empty()) (void)server_.broadcast(snapshot(), GK_RETRY_SEQUENCED).value();
    }

private:
    // Takes a batch of events; gives whether there may be more.
    bool take() {
        server_.next_events(events_).or_throw();
        for (const gk_event &event : events_) {
            if (event.type == GK_EVENT_CONNECT) {
                entities_[event.peer] = {{event.token, world_size / 2, world_size / 2}, {0, 0}};
            } else if (event.type == GK_EVENT_DISCONNECT) {
                entities_.erase(event.peer);
            } else if (event.type == GK_EVENT_MESSAGE && event.len == sizeof(input)) {
                // Strangers write this: only directions are taken from it, never positions.
                input wanted;
                std::memcpy(&wanted, event.data, sizeof wanted);
                auto found = entities_.find(event.peer);
                if (found != entities_.end()) {
                    auto one = [](int8_t value) { return static_cast<int8_t>((value > 0) - (value < 0)); };
                    found->second.wanted = {one(wanted.x), one(wanted.y)};
                }
            }
        }
        return !events_.empty();
    }

    gk::bytes snapshot() {
        snapshot_head head{step_, static_cast<uint32_t>(entities_.size())};
        buffer_.resize(sizeof head + head.count * sizeof(placed));
        std::memcpy(buffer_.data(), &head, sizeof head);
        uint8_t *out = buffer_.data() + sizeof head;
        for (const auto &[peer, seen] : entities_) {
            std::memcpy(out, &seen.at, sizeof seen.at);
            out += sizeof seen.at;
        }
        return buffer_;
    }

    gk::server server_;
    std::map<gk::peer, entity> entities_;
    std::vector<gk_event> events_;
    std::vector<uint8_t> buffer_;
    uint32_t step_ = 0;
};

// A player who walks in a circle and looks where the newest snapshot has it.
class bot {
public:
    bot(gk::client client, int number) : client_(std::move(client)), turn_(static_cast<float>(number)) {}

    void update() {
        client_.poll(0us).or_throw();
        client_.next_events(events_).or_throw();
        for (const gk_event &event : events_) {
            if (event.type == GK_EVENT_CONNECT) token_ = event.token;
            if (event.type == GK_EVENT_MESSAGE) look(event);
        }
        auto now = steady::now();
        if (token_ != 0 && now >= next_input_) {
            next_input_ = now + 50ms;
            turn_ += 0.2f;
            auto direction = [](float value) { return static_cast<int8_t>(std::lround(value)); };
            input wanted{direction(std::cos(turn_)), direction(std::sin(turn_))};
            gk::send_options options;
            options.retry = GK_RETRY_SEQUENCED;
            // An input that finds no room is late anyway.
            (void)client_.send(gk::bytes(&wanted, sizeof wanted), options);
        }
    }

    uint32_t snapshots() const { return snapshots_; }
    bool in_order() const { return in_order_; }
    bool has_moved() const { return has_moved_; }

private:
    void look(const gk_event &event) {
        snapshot_head head;
        if (event.len < sizeof head) return;
        std::memcpy(&head, event.data, sizeof head);
        if (event.len != sizeof head + head.count * sizeof(placed)) return;
        in_order_ = in_order_ && head.step > newest_;
        newest_ = head.step;
        snapshots_++;
        for (uint32_t i = 0; i < head.count; i++) {
            placed seen;
            std::memcpy(&seen, event.data + sizeof head + i * sizeof seen, sizeof seen);
            bool at_start = seen.x == world_size / 2 && seen.y == world_size / 2;
            if (seen.owner == token_ && !at_start) has_moved_ = true;
        }
    }

    gk::client client_;
    std::vector<gk_event> events_;
    steady::time_point next_input_{};
    float turn_;
    uint32_t token_ = 0, newest_ = 0, snapshots_ = 0;
    bool in_order_ = true, has_moved_ = false;
};

// All bots on one thread, until they are told to leave.
void play(std::vector<bot> &bots, const std::atomic<bool> &leave) {
    while (!leave) {
        for (bot &each : bots) each.update();
        std::this_thread::sleep_for(4ms);
    }
}

std::vector<bot> make_bots(const std::string &address, int count) {
    auto context = gk::context::create().value();
    // Beyond one's own machine: pin_native_key.
    context.trust_any_server().or_throw();
    context.set_max_queued_events(1000).or_throw();
    std::vector<bot> bots;
    for (int number = 0; number < count; number++) {
        bots.emplace_back(gk::client::open(context, address).value(), number);
    }
    return bots;
}

// The loop itself; gives how long each step took.
std::vector<double> run(game &world, steady::duration time, int &left_out) {
    std::vector<double> milliseconds;
    const auto end = steady::now() + time;
    auto due = steady::now();
    while (due < end) {
        auto begun = steady::now();
        world.advance();
        milliseconds.push_back(std::chrono::duration<double, std::milli>(steady::now() - begun).count());
        due += step;
        if (steady::now() > due + max_steps_behind * step) {
            left_out += static_cast<int>((steady::now() - due) / step);
            due = steady::now();
        }
        // The rest of the step is the network's; a game that draws would do that here.
        do {
            auto rest = std::chrono::duration_cast<gk::microseconds>(due - steady::now());
            world.server().poll(std::max(rest, gk::microseconds(0))).or_throw();
        } while (steady::now() < due);
    }
    return milliseconds;
}

void report(std::vector<double> milliseconds, int left_out) {
    std::sort(milliseconds.begin(), milliseconds.end());
    auto at = [&](double share) {
        auto last = milliseconds.size() - 1;
        return milliseconds[std::min(static_cast<size_t>(share * static_cast<double>(milliseconds.size())), last)];
    };
    std::cout << std::fixed << std::setprecision(3) << milliseconds.size() << " steps, " << left_out
              << " left out; ms a step: p50 " << at(0.5) << ", p95 " << at(0.95) << ", p99 " << at(0.99) << ", longest "
              << milliseconds.back() << std::endl;
}

int play_for(double seconds, int count) {
    auto context = gk::context::create().value();
    context.set_max_queued_events(100'000).or_throw();
    game world(gk::server::open(context, "127.0.0.1:0").value());
    std::vector<bot> bots = make_bots(world.server().address().value(), count);
    std::atomic<bool> leave{false};
    std::thread players([&] { play(bots, leave); });
    int left_out = 0;
    std::vector<double> milliseconds;
    std::exception_ptr failure;
    try {
        milliseconds = run(world, std::chrono::duration_cast<steady::duration>(std::chrono::duration<double>(seconds)),
                           left_out);
    } catch (...) {
        failure = std::current_exception();
    }
    leave = true;
    players.join();
    if (failure) std::rethrow_exception(failure);

    auto all = [&](auto holds) { return std::count_if(bots.begin(), bots.end(), holds); };
    uint32_t least = count == 0 ? 0 : UINT32_MAX;
    for (const bot &each : bots) least = std::min(least, each.snapshots());
    std::cout << world.players() << " players, " << all([](const bot &b) { return b.has_moved(); }) << " saw themselves move, "
              << all([](const bot &b) { return b.in_order(); }) << " saw steps in order; at least " << least
              << " snapshots each" << std::endl;
    report(std::move(milliseconds), left_out);
    return 0;
}

} // namespace

int main(int argc, char **argv) {
    double seconds = argc > 1 ? std::atof(argv[1]) : 5;
    int count = argc > 2 ? std::atoi(argv[2]) : 32;
    if (!(seconds > 0) || count < 0 || count > 1000) {
        std::cerr << "usage: engine_loop [seconds [bots]], with at most 1000 bots\n";
        return 2;
    }
    try {
        return play_for(seconds, count);
    } catch (const std::exception &error) {
        std::cerr << "cannot play: " << error.what() << "\n";
        return 1;
    }
}
