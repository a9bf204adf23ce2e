import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;
import org.apache.rocketmq.filter.expression.EvaluationContext;
import org.apache.rocketmq.filter.expression.Expression;
import org.apache.rocketmq.filter.expression.MQFilterException;
import org.apache.rocketmq.filter.parser.SelectorParser;

/**
 * What the broker's filter says to each line of the input: an expression, then names and values of properties, separated by tabs.
 * The answer is a line with `refused`, `true`, `false`, `null`, or `failed` if the evaluation ends with an exception.
 */
final class Filter {
    public static void main(String[] args) throws Exception {
        BufferedReader cases = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        PrintStream answers = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        for (String line = cases.readLine(); line != null; line = cases.readLine()) {
            String[] fields = line.split("\t", -1);
            Map<String, String> properties = new HashMap<>();
            for (int i = 1; i + 1 < fields.length; i += 2) properties.put(plain(fields[i]), plain(fields[i + 1]));
            answers.print(answer(plain(fields[0]), properties) + "\n");
        }
        answers.flush();
    }

    private static String answer(String expression, Map<String, String> properties) {
        Expression compiled;
        try {
            compiled = SelectorParser.parse(expression);
        } catch (MQFilterException e) {
            return "refused";
        }
        try {
            return String.valueOf(compiled.evaluate(new EvaluationContext() {
                @Override public Object get(String name) { return properties.get(name); }
                @Override public Map<String, Object> keyValues() { return Map.of(); }
            }));
        } catch (Throwable e) {
            return "failed";
        }
    }

    /** Tabs, ends of lines and backslashes are written as in Java's own texts. */
    private static String plain(String field) {
        return field.translateEscapes();
    }
}
