import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.HashMap;
import java.util.Map;
import org.apache.curator.framework.CuratorFramework;
import org.apache.curator.framework.CuratorFrameworkFactory;
import org.apache.curator.retry.ExponentialBackoffRetry;
import org.apache.curator.x.discovery.ServiceDiscovery;
import org.apache.curator.x.discovery.ServiceDiscoveryBuilder;
import org.apache.curator.x.discovery.ServiceInstance;
import org.apache.curator.x.discovery.ServiceType;
import org.apache.curator.x.discovery.UriSpec;

// Registrar registers services with Curator's service discovery, as its standard input says. A line
// is a command and its arguments, separated by blanks: put NAME ID ADDRESS PORT SSLPORT TYPE PAYLOAD
// (- is none) registers or updates an instance, delete NAME ID takes it back. Each is answered by a
// line on standard output, which is "ok" or what went wrong.
public final class Registrar {
    public static void main(String[] args) throws Exception {
        CuratorFramework client = CuratorFrameworkFactory.builder()
                .connectString(args[0])
                .sessionTimeoutMs(20000)
                .retryPolicy(new ExponentialBackoffRetry(100, 10))
                .build();
        client.start();
        ServiceDiscovery<String> discovery = ServiceDiscoveryBuilder.builder(String.class)
                .client(client)
                .basePath(args[1])
                .build();
        discovery.start();
        Map<String, ServiceInstance<String>> known = new HashMap<>();
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        System.out.println("ok");
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            try {
                run(discovery, known, line.split(" "));
                System.out.println("ok");
            } catch (Exception e) {
                System.out.println(e);
            }
        }
        discovery.close();
        client.close();
    }

    private static void run(ServiceDiscovery<String> discovery, Map<String, ServiceInstance<String>> known, String[] words) throws Exception {
        String key = words[1] + "/" + words[2];
        if (words[0].equals("delete")) {
            discovery.unregisterService(known.remove(key));
            return;
        }
        var builder = ServiceInstance.<String>builder()
                .name(words[1])
                .id(words[2])
                .address(words[3])
                .serviceType(ServiceType.valueOf(words[6]))
                .uriSpec(new UriSpec("{scheme}://{address}:{port}"));
        if (!words[4].equals("-")) {
            builder.port(Integer.parseInt(words[4]));
        }
        if (!words[5].equals("-")) {
            builder.sslPort(Integer.parseInt(words[5]));
        }
        if (!words[7].equals("-")) {
            builder.payload(words[7]);
        }
        ServiceInstance<String> instance = builder.build();
        if (known.put(key, instance) == null) {
            discovery.registerService(instance);
        } else {
            discovery.updateService(instance);
        }
    }
}
