package bench;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Duration;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.common.serialization.Deserializer;
import org.apache.kafka.common.serialization.Serde;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.common.serialization.Serializer;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.ContextualFixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;
import org.apache.kafka.streams.state.WindowStore;
import org.apache.kafka.streams.state.WindowStoreIterator;

/**
 * Kafka Streams: a window store drops known ids as in Confluent's tutorial "deduplication-windowed", a key-value store
 * holds what customers used; both in RocksDB with changelogs, one stream thread.
 *
 * <p>Does less than ours: no check that a known id has the same content, no validation, one allowance and one price;
 * at-least-once, its default: what was done since the last commit is done again after a crash. Needs Apache Kafka: the
 * embedded broker lacks what it asks for.
 */
public final class Rater {
    private static final Duration HORIZON = Duration.ofDays(35);
    private static final long INCLUDED = 100;
    private static final long PRICE_PICO = 20_000_000_000L;
    private static final ObjectMapper JSON = new ObjectMapper();

    @JsonIgnoreProperties(ignoreUnknown = true)
    public record Data(String feature, String unit, long quantity) {}

    @JsonIgnoreProperties(ignoreUnknown = true)
    public record Event(String id, String source, String subject, String time, Data data) {}

    public record Usage(String month, long used) {}

    public record Rated(
            String customer, String id, String source, String time, String month, String feature, String unit,
            long quantity, long included, long overage, long charge_pico) {}

    private static final class First extends ContextualFixedKeyProcessor<String, Event, Event> {
        private WindowStore<String, Long> seen;

        @Override
        public void init(FixedKeyProcessorContext<String, Event> context) {
            super.init(context);
            seen = context.getStateStore("seen");
        }

        @Override
        public void process(FixedKeyRecord<String, Event> record) {
            long now = context().currentStreamTimeMs();
            String id = record.value().id();
            try (WindowStoreIterator<Long> known = seen.fetch(id, now - HORIZON.toMillis(), now)) {
                if (known.hasNext()) {
                    return;
                }
            }
            seen.put(id, record.timestamp(), record.timestamp());
            context().forward(record);
        }
    }

    private static final class Split extends ContextualFixedKeyProcessor<String, Event, Rated> {
        private KeyValueStore<String, Usage> usages;

        @Override
        public void init(FixedKeyProcessorContext<String, Rated> context) {
            super.init(context);
            usages = context.getStateStore("usages");
        }

        @Override
        public void process(FixedKeyRecord<String, Event> record) {
            Event event = record.value();
            Data data = event.data();
            String month = event.time().substring(0, 7);
            Usage usage = usages.get(event.subject());
            long used = usage != null && usage.month().equals(month) ? usage.used() : 0;
            long included = Math.min(data.quantity(), INCLUDED - used);
            long overage = data.quantity() - included;
            usages.put(event.subject(), new Usage(month, used + included));
            context().forward(record.withValue(new Rated(
                    event.subject(), event.id(), event.source(), event.time(), month, data.feature(), data.unit(),
                    data.quantity(), included, overage, overage * PRICE_PICO)));
        }
    }

    private static <T> Serde<T> json(Class<T> type) {
        Serializer<T> serializer = (topic, value) -> {
            try {
                return value == null ? null : JSON.writeValueAsBytes(value);
            } catch (IOException failure) {
                throw new UncheckedIOException(failure);
            }
        };
        Deserializer<T> deserializer = (topic, bytes) -> {
            try {
                return bytes == null ? null : JSON.readValue(bytes, type);
            } catch (IOException failure) {
                throw new UncheckedIOException(failure);
            }
        };
        return Serdes.serdeFrom(serializer, deserializer);
    }

    public static void main(String[] arguments) {
        StreamsBuilder builder = new StreamsBuilder();
        builder.addStateStore(Stores.windowStoreBuilder(
                Stores.persistentWindowStore("seen", HORIZON, HORIZON, false), Serdes.String(), Serdes.Long()));
        builder.addStateStore(Stores.keyValueStoreBuilder(
                Stores.persistentKeyValueStore("usages"), Serdes.String(), json(Usage.class)));
        builder.stream("events", Consumed.with(Serdes.String(), json(Event.class)))
                .processValues(First::new, "seen")
                .processValues(Split::new, "usages")
                .to("rated", Produced.with(Serdes.String(), json(Rated.class)));
        Map<String, String> environment = System.getenv();
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, "bench-streams");
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, environment.get("BENCH_BROKER"));
        settings.put(StreamsConfig.STATE_DIR_CONFIG, environment.get("BENCH_FOLDER"));
        settings.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG,
                Math.round(1000 * Double.parseDouble(environment.get("BENCH_COMMIT_S"))));
        settings.put("auto.offset.reset", "earliest");
        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }
}
