import com.hivemq.embedded.EmbeddedExtension;
import com.hivemq.embedded.EmbeddedHiveMQ;
import com.hivemq.extension.sdk.api.ExtensionMain;
import com.hivemq.extension.sdk.api.auth.SimpleAuthenticator;
import com.hivemq.extension.sdk.api.auth.PublishAuthorizer;
import com.hivemq.extension.sdk.api.parameter.ExtensionStartInput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStartOutput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStopInput;
import com.hivemq.extension.sdk.api.parameter.ExtensionStopOutput;
import com.hivemq.extension.sdk.api.services.Services;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.concurrent.CountDownLatch;

/**
 * HiveMQ Community Edition as a program: Broker DIRECTORY, in which conf/config.xml, data and extensions are.
 * Takes clients without a name, and joe with the password secret; nobody may publish below denied/.
 */
public final class Broker implements ExtensionMain {
	private static final SimpleAuthenticator AUTHENTICATOR = (input, output) -> {
		final var packet = input.getConnectPacket();
		final var password = packet.getPassword().map(bytes -> StandardCharsets.UTF_8.decode(bytes).toString());
		if (packet.getUserName().isEmpty()
				|| packet.getUserName().get().equals("joe") && password.orElse("").equals("secret")) {
			output.authenticateSuccessfully();
		} else {
			output.failAuthentication();
		}
	};

	private static final PublishAuthorizer AUTHORIZER = (input, output) -> {
		if (input.getPublishPacket().getTopic().startsWith("denied/")) {
			output.failAuthorization();
		} else {
			output.authorizeSuccessfully();
		}
	};

	@Override
	public void extensionStart(final ExtensionStartInput input, final ExtensionStartOutput output) {
		Services.securityRegistry().setAuthenticatorProvider(ignored -> AUTHENTICATOR);
		Services.securityRegistry().setAuthorizerProvider(ignored -> AUTHORIZER);
	}

	@Override
	public void extensionStop(final ExtensionStopInput input, final ExtensionStopOutput output) {
	}

	public static void main(final String[] arguments) throws Exception {
		final Path directory = Path.of(arguments[0]);
		final EmbeddedExtension extension = EmbeddedExtension.builder().withId("tests").withName("tests")
				.withVersion("0").withExtensionMain(new Broker()).build();
		final EmbeddedHiveMQ broker = EmbeddedHiveMQ.builder().withConfigurationFolder(directory.resolve("conf"))
				.withDataFolder(directory.resolve("data")).withExtensionsFolder(directory.resolve("extensions"))
				.withEmbeddedExtension(extension).build();
		final CountDownLatch ended = new CountDownLatch(1);

		Runtime.getRuntime().addShutdownHook(new Thread(() -> {
			broker.stop().join();
			ended.countDown();
		}));
		broker.start().join();
		ended.await();
	}
}
