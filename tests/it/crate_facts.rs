//! crate_facts

/// What `llm` relies on in ureq.
mod ureq_facts {
    use std::io::{ErrorKind, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::sync::mpsc;
    use std::thread;
    use std::time::Duration;

    use ureq::config::ConfigBuilder;
    use ureq::typestate::AgentScope;
    use ureq::{Agent, Proxy};

    const LONG: Duration = Duration::from_secs(20);
    const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n";

    fn builder() -> ConfigBuilder<AgentScope> {
        Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
    }

    /// A server that gives every connection, with its number from 0, to `serve`.
    fn server(serve: impl Fn(usize, TcpStream) + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                serve(number, stream.unwrap());
            }
        });
        url
    }

    /// Reads up to the end of a request's head.
    fn read_head(stream: &mut TcpStream) {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
            head.push(byte[0]);
        }
    }

    #[test]
    fn shutdown_ends_a_blocked_read_of_a_body() {
        let (began_tx, began_rx) = mpsc::channel();
        let url = server(move |_, mut stream| {
            read_head(&mut stream);
            stream.write_all(HEAD.as_bytes()).unwrap();
            began_tx.send(stream).unwrap();
        });
        let agent = builder().build().new_agent();
        let reading = agent.clone();
        let (ended_tx, ended_rx) = mpsc::channel();
        thread::spawn(move || {
            let mut response = reading.get(url).call().unwrap();
            let read = response.body_mut().as_reader().read(&mut [0; 8]);
            ended_tx.send(read.is_err()).unwrap();
        });
        let _stream = began_rx.recv_timeout(LONG).unwrap();
        agent.shutdown();
        // Whether as an error or as an end: it returns.
        ended_rx.recv_timeout(LONG).unwrap();
    }

    #[test]
    fn timeout_per_read_limits_silence_and_not_the_whole() {
        let url = server(|_, mut stream| {
            read_head(&mut stream);
            stream.write_all(HEAD.as_bytes()).unwrap();
            for _ in 0..8 {
                thread::sleep(Duration::from_millis(250));
                stream.write_all(b"a").unwrap();
            }
            // The rest never comes, and the connection stays.
            let _gone = stream.read(&mut [0]);
        });
        let limit = Duration::from_millis(1500);
        let agent = builder().timeout_per_read(Some(limit)).build().new_agent();
        let mut response = agent.get(url).call().unwrap();
        let mut got = Vec::new();
        let error = response
            .body_mut()
            .as_reader()
            .read_to_end(&mut got)
            .unwrap_err();
        assert_eq!(got, b"aaaaaaaa");
        let inner = error.downcast::<ureq::Error>().unwrap();
        assert!(matches!(
            inner,
            ureq::Error::Timeout(ureq::Timeout::PerRead)
        ));
    }

    #[test]
    fn timeout_global_of_one_request_ends_a_body_that_drips() {
        let url = server(|_, mut stream| {
            read_head(&mut stream);
            stream.write_all(HEAD.as_bytes()).unwrap();
            while stream.write_all(b"a").is_ok() {
                thread::sleep(Duration::from_millis(100));
            }
        });
        let agent = builder().build().new_agent();
        let request = agent.get(url).config();
        let limit = Some(Duration::from_millis(300));
        let mut response = request.timeout_global(limit).build().call().unwrap();
        let error = response
            .body_mut()
            .as_reader()
            .read_to_end(&mut Vec::new())
            .unwrap_err();
        let inner = error.downcast::<ureq::Error>().unwrap();
        assert!(matches!(inner, ureq::Error::Timeout(ureq::Timeout::Global)));
    }

    #[test]
    fn a_request_on_a_connection_that_just_closed_is_not_repeated() {
        let url = server(|_, mut stream| {
            read_head(&mut stream);
            let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
            read_head(&mut stream);
        });
        let agent = builder().build().new_agent();
        agent.get(&url).call().unwrap();
        let error = agent.get(&url).call().unwrap_err();
        let ureq::Error::Io(error) = error else {
            panic!("{error}");
        };
        assert!(matches!(
            error.kind(),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
        ));
    }

    #[test]
    fn with_no_redirects_allowed_the_redirect_is_the_answer() {
        let url = server(|_, mut stream| {
            read_head(&mut stream);
            let answer = "HTTP/1.1 302 Found\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n";
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let agent = builder().build().new_agent();
        assert_eq!(agent.get(url).call().unwrap().status(), 302);
    }

    #[test]
    fn a_proxy_is_asked_for_loopback_addresses_too() {
        let url = server(|_, mut stream| read_head(&mut stream));
        // Nothing listens there.
        let proxy = Proxy::new("http://127.0.0.1:9").unwrap();
        let agent = builder().proxy(Some(proxy)).build().new_agent();
        assert!(agent.get(url).call().is_err());
    }
}
